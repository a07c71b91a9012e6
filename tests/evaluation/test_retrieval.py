"""Retrieval against sklearn's and torchmetrics' figures; ties, equal captions, intervals."""

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from sklearn.metrics.pairwise import cosine_similarity
from torchmetrics.retrieval import RetrievalHitRate

from pipeline.evaluation.retrieval import TOP, Captions, ranks, retrieval
from pipeline.intervals import clopper_pearson


def pairs(num: int, num_captions: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures near their captions' vectors; several a caption, lengths not 1."""
    generator = np.random.default_rng(0)
    texts = generator.normal(size=(num_captions, 12)).astype(np.float16)
    texts = texts[generator.integers(0, num_captions, num)]
    return texts + noise * generator.normal(size=(num, 12)), texts


def test_the_shares_are_sklearns_and_torchmetrics_where_no_caption_ties() -> None:
    pictures, texts = pairs(1500, 60)
    different, own = np.unique(texts, axis=0, return_inverse=True)
    score = cosine_similarity(pictures, different.astype(np.float64))
    found = retrieval(pictures, texts, Captions(texts), seed=0)
    assert (found.num_pictures, found.num_captions) == (1500, 60)
    for k in TOP:
        share = found.recall[k]
        assert share.rate == pytest.approx(top_k_accuracy_score(own, score, k=k))
        queries = torch.arange(1500).repeat_interleave(60)
        right = torch.from_numpy(own[:, None] == np.arange(60)).flatten()
        hit_rate = RetrievalHitRate(top_k=k)(torch.from_numpy(score).flatten(), right, queries)
        assert share.rate == pytest.approx(float(hit_rate))
        assert (share.low95, share.high95) == clopper_pearson(share.num_right, 1500)
    assert 0.2 < found.recall[1].rate < found.recall[5].rate < found.recall[10].rate < 1
    assert found.similarity == pytest.approx(float(score[np.arange(1500), own].mean()))


def test_a_tie_counts_against_the_picture_and_equal_captions_are_one() -> None:
    captions = Captions(np.array([[1, 0], [0, 1], [1, 0], [-1, 0], [-0.0, 1]]))
    assert len(captions.vectors) == 3
    own = captions.numbers_of(np.array([[1, 0], [0, 1], [1.0, -0.0]]))
    assert own[0] == own[2]
    pictures = np.array([[2.0, 2.0], [0.0, 0.1], [3.0, 1.0]])
    assert ranks(pictures, captions, own).tolist() == [2, 1, 1]
    with pytest.raises(ValueError, match="not among the captions"):
        captions.numbers_of(np.array([[0.5, 0.5]]))


def test_an_encoder_that_says_nothing_finds_none() -> None:
    """One vector for all pictures, and captions that are all as near to it."""
    texts = np.eye(8)
    found = retrieval(np.ones((8, 8)), texts, Captions(texts), seed=0)
    assert [found.recall[k].num_right for k in TOP] == [0, 0, 8]  # all 8 are among the first 10
    assert found.similarity_low95 == found.similarity == found.similarity_high95


def test_the_similaritys_interval_is_the_normal_one_for_many_pictures_and_is_keyed() -> None:
    pictures, texts = pairs(3000, 40)
    found = retrieval(pictures, texts, Captions(texts), seed=5)
    cosines = np.diag(cosine_similarity(pictures, texts.astype(np.float64)))
    error = cosines.std(ddof=1) / np.sqrt(3000)
    assert found.similarity_low95 == pytest.approx(cosines.mean() - 1.96 * error, abs=0.15 * error)
    assert found.similarity_high95 == pytest.approx(cosines.mean() + 1.96 * error, abs=0.15 * error)
    assert retrieval(pictures, texts, Captions(texts), seed=5) == found
    assert retrieval(pictures, texts, Captions(texts), seed=6) != found
