"""Mean 0 and standard deviation 1, measured on what is trained on."""

import json

import numpy as np
import pytest
import torch

from nd_data.longitudinal import LongitudinalDataset, Standardizer, mark_out_of_time, split_by_ids


@pytest.fixture
def dataset():
    rng = np.random.default_rng(3)
    return LongitudinalDataset(
        [
            {
                "embeddings": np.where(rng.random((20, 1)) < 0.3, np.nan, rng.normal(5, 3, (20, 2))),
                "outcomes": np.where(rng.random((20, 2)) < 0.3, np.nan, rng.normal(-2, 7, (20, 2))),
                "seq_embeddings_person": rng.normal(40, 10, 3),
            }
            for _ in range(6)
        ]
    )


def test_held_out_steps_sequences_and_filled_values_do_not_count(dataset):
    splits = split_by_ids(mark_out_of_time(dataset, fraction=0.3), val_ids=[1], test_ids=[5])
    standardizer = Standardizer.fit(splits.val, outcomes=True)
    features, outcomes, people = [], [[], []], []
    for item in splits.train:
        for step in range(20):
            if not item["mask"][step] and not item["oots_mask"][step]:
                features.append(item["embeddings"][step].astype(np.float64))
            for column in range(2):
                if item["outcomes_mask"][step, column] and not item["oots_mask"][step]:
                    outcomes[column].append(float(item["outcomes"][step, column]))
        people.append(item["seq_embeddings_person"].astype(np.float64))
    np.testing.assert_allclose(standardizer.mean["embeddings"], np.mean(features, axis=0))
    np.testing.assert_allclose(standardizer.std["embeddings"], np.std(features, axis=0))
    np.testing.assert_allclose(standardizer.mean["outcomes"], [np.mean(column) for column in outcomes])
    np.testing.assert_allclose(standardizer.std["outcomes"], [np.std(column) for column in outcomes])
    np.testing.assert_allclose(standardizer.mean["seq_embeddings_person"], np.mean(people, axis=0))


def test_a_transformed_dataset_has_the_same_masks_and_the_old_one_stays(dataset):
    before = [item["embeddings"].copy() for item in dataset]
    standardizer = Standardizer.fit(dataset, outcomes=True)
    changed = standardizer.transform(dataset)
    for item, new, old in zip(dataset, changed, before, strict=True):
        np.testing.assert_array_equal(item["embeddings"], old)
        for key in ("mask", "outcomes_mask", "time_ids", "oots_mask"):
            np.testing.assert_array_equal(item[key], new[key])
        seen = np.logical_or.accumulate(~item["mask"])
        expected = (old - standardizer.mean["embeddings"]) / standardizer.std["embeddings"]
        np.testing.assert_allclose(new["embeddings"][seen], expected[seen], rtol=1e-5, atol=1e-6)
        assert (new["embeddings"][~seen] == 0).all()


def test_predictions_return_to_the_units_of_the_outcomes(dataset):
    standardizer = Standardizer.fit(dataset, outcomes=True)
    item, changed = dataset[0], standardizer.transform(dataset)[0]
    restored = standardizer.inverse_outcomes(torch.from_numpy(changed["outcomes"].copy()))
    observed = item["outcomes_mask"]
    np.testing.assert_allclose(restored.numpy()[observed], item["outcomes"][observed], rtol=1e-5, atol=1e-5)
    assert torch.equal(Standardizer.fit(dataset).inverse_outcomes(restored), restored)


def test_what_was_measured_survives_json(dataset):
    standardizer = Standardizer.fit(dataset, outcomes=True)
    again = Standardizer.from_config(json.loads(json.dumps(standardizer.to_config())))
    for item, same in zip(standardizer.transform(dataset), again.transform(dataset), strict=True):
        np.testing.assert_array_equal(item["embeddings"], same["embeddings"])


def test_a_constant_column_is_centred_and_an_unobserved_one_left_alone():
    dataset = LongitudinalDataset([{"embeddings": [[3.0], [3.0]], "outcomes": [[1.0, np.nan], [2.0, np.nan]]}])
    standardizer = Standardizer.fit(dataset, outcomes=True)
    assert standardizer.transform(dataset)[0]["embeddings"].tolist() == [[0.0], [0.0]]
    assert (standardizer.mean["outcomes"][1], standardizer.std["outcomes"][1]) == (0.0, 1.0)


def test_what_cannot_be_measured_is_refused(dataset):
    with pytest.raises(ValueError, match="outcomes are classes"):
        Standardizer.fit(LongitudinalDataset([{"outcomes": [0.0, 1.0]}], num_classes=2), outcomes=True)
    with pytest.raises(ValueError, match="no sequence to measure"):
        Standardizer.fit(split_by_ids(dataset, test_ids=[1]).test)
    other = dataset.with_values({"embeddings": [np.ones((20, 1))] * 6})
    with pytest.raises(ValueError, match="'embeddings' was measured with 2 columns, the dataset has 1"):
        Standardizer.fit(dataset).transform(other)
    with pytest.raises(ValueError, match="above 0"):
        Standardizer({"embeddings": [0.0]}, {"embeddings": [0.0]})
    with pytest.raises(ValueError, match="needs a mean and a standard deviation"):
        Standardizer({"embeddings": [0.0]}, {})
