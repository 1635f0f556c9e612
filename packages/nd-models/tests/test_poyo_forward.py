"""The whole of POYO, POYO+ and its calcium form against a forward pass written in NumPy, in float64."""

import math

import numpy as np
import pytest
import torch

ERF = np.vectorize(math.erf)


class Slow:
    """The published equations, reading weights by their published names."""

    def __init__(self, state: dict, dim_head: int) -> None:
        self.state = {key: value.double().numpy() for key, value in state.items() if not key.endswith("vocab")}
        self.dim_head = dim_head
        self.omega = self.state["rotary_emb.omega"]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0.0)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def feed_forward(self, x: np.ndarray, name: str) -> np.ndarray:
        values, gates = np.split(self.linear(self.norm(x, f"{name}.0"), f"{name}.1.net.0"), 2, axis=-1)
        return self.linear(values * gates * (1 + ERF(gates / math.sqrt(2))) / 2, f"{name}.1.net.3")

    def turned(self, x: np.ndarray, times: np.ndarray, sign: float = 1.0) -> np.ndarray:
        """x: (N, D_h)."""
        angles = sign * times[:, None] * self.omega
        even, odd = x[:, 0::2], x[:, 1::2]
        result = np.empty(x.shape)
        result[:, 0::2] = even * np.cos(angles) - odd * np.sin(angles)
        result[:, 1::2] = odd * np.cos(angles) + even * np.sin(angles)
        return result

    def attention(self, query, key, value, query_times, key_times, name, *, rotate_value):
        heads = []
        for head in range(query.shape[1] // self.dim_head):
            part = slice(head * self.dim_head, (head + 1) * self.dim_head)
            scores = self.turned(query[:, part], query_times) @ self.turned(key[:, part], key_times).T
            weights = np.exp(scores / math.sqrt(self.dim_head))
            weights /= weights.sum(-1, keepdims=True)
            values = self.turned(value[:, part], key_times) if rotate_value else value[:, part]
            read = weights @ values
            heads.append(self.turned(read, query_times, -1.0) if rotate_value else read)
        return self.linear(np.concatenate(heads, axis=-1), f"{name}.to_out")

    def cross(self, x, context, times, context_times, name, *, rotate_value):
        query = self.linear(self.norm(x, f"{name}.norm"), f"{name}.to_q")
        key, value = np.split(self.linear(self.norm(context, f"{name}.norm_context"), f"{name}.to_kv"), 2, axis=-1)
        return self.attention(query, key, value, times, context_times, name, rotate_value=rotate_value)

    def embedded(self, inputs: dict, row: int, real: np.ndarray) -> np.ndarray:
        units = self.state["unit_emb.weight"][inputs["input_unit_index"][row][real]]
        if "input_values" in inputs:
            return np.concatenate([self.linear(inputs["input_values"][row][real], "input_value_map"), units], axis=1)
        return units + self.state["token_type_emb.weight"][inputs["input_token_type"][row][real]]

    def decoded(self, inputs, times, latent_index, latent_times, queries, query_times) -> np.ndarray:
        """One window without padding."""
        latents = self.state["latent_emb.weight"][latent_index]
        latents = latents + self.cross(latents, inputs, latent_times, times, "enc_atn", rotate_value=True)
        latents = latents + self.feed_forward(latents, "enc_ffn")
        for layer in range(sum(key.endswith(".to_qkv.weight") for key in self.state)):
            name = f"proc_layers.{layer}"
            parts = np.split(self.linear(self.norm(latents, f"{name}.0.norm"), f"{name}.0.to_qkv"), 3, axis=-1)
            latents = latents + self.attention(*parts, latent_times, latent_times, f"{name}.0", rotate_value=True)
            latents = latents + self.feed_forward(latents, f"{name}.1")
        queries = queries + self.cross(queries, latents, query_times, latent_times, "dec_atn", rotate_value=False)
        return queries + self.feed_forward(queries, "dec_ffn")


@pytest.mark.parametrize("name", ["POYO", "POYOPlus", "CalciumPOYOPlus"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_equal_the_published_equations(name, dtype, make_model, make_window, make_batch):
    model = make_model(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases start at one and zero, which would hide mistakes
                parameter.add_(0.3 * torch.randn(parameter.shape))
    windows = [make_window(spikes=40, outputs=7), make_window(spikes=11, outputs=3, seed=1)]
    batch = make_batch(model, windows)
    slow = Slow(model.state_dict(), dim_head=8)
    with torch.no_grad():
        found = model.to(dtype)(**batch["model_inputs"], unpack_output=True)

    inputs = {key: values.numpy() for key, values in batch["model_inputs"].items()}
    for row, window in enumerate(windows):
        real, asked = inputs["input_mask"][row], slice(0, len(window.cursor))
        if name != "POYO":
            asked = inputs["output_decoder_index"][row] > 0
        queries = slow.state["session_emb.weight"][inputs["output_session_index"][row][asked]]
        if name != "POYO":
            queries = queries + slow.state["task_emb.weight"][inputs["output_decoder_index"][row][asked]]
        decoded = slow.decoded(
            slow.embedded(inputs, row, real),
            inputs["input_timestamps"][row][real],
            inputs["latent_index"][row],
            inputs["latent_timestamps"][row],
            queries,
            inputs["output_timestamps"][row][asked],
        )
        tolerance = {"atol": 2e-5} if dtype == torch.float32 else {"atol": 1e-6}
        if name == "POYO":
            np.testing.assert_allclose(found[row].numpy(), slow.linear(decoded, "readout"), **tolerance)
            continue
        for task, spec in model.readout_specs.items():
            mine = inputs["output_decoder_index"][row][asked] == spec.id
            expected = slow.linear(decoded[mine], f"readout.projections.{task}")
            np.testing.assert_allclose(found[row][task].numpy(), expected, **tolerance)
