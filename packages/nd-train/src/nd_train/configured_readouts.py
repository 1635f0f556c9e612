"""Which readouts the data's configuration asks for."""

from nd_data.configuration import ConfigurationLike, read_configuration


def configured_readouts(config: ConfigurationLike, *, single: bool = False) -> list[str]:
    """Names of the readouts that a configuration asks for, each once, in the order of the configuration.

    Args:
        config: As `Dataset` takes it.
        single: Look at ``readout`` (POYO) instead of ``multitask_readout`` (POYO+).

    Raises:
        ValueError: the configuration asks for none, or for several where one model can have one.
    """
    names: dict[str, None] = {}
    for entry in read_configuration(config):
        if single:
            readouts = [entry.config["readout"]] if "readout" in entry.config else []
        else:
            readouts = entry.config.get("multitask_readout", [])
        names.update(dict.fromkeys(str(readout["readout_id"]) for readout in readouts))
    key = "readout" if single else "multitask_readout"
    if not names:
        raise ValueError(
            f"the data's configuration has no '{key}': expected at least one readout_id under config/{key}"
        )
    if single and len(names) > 1:
        raise ValueError(
            f"a model with one readout cannot predict {', '.join(names)}: use POYOPlus and 'multitask_readout'"
        )
    return list(names)
