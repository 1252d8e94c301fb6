"""k-means, whitening and partition measures against scikit-learn, scipy, faiss and hand-made cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize

from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.clustering import kmeans as kmeans_module, partitions
from serbench.sermodels.clustering.kmeans import kmeans
from serbench.sermodels.clustering.partitions import entropy, nmi, sizes
from serbench.sermodels.clustering.points import FiledPoints, HeldPoints, Points, make_points
from serbench.sermodels.clustering.whitening import whiten

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card"))]


def blobs(n: int = 3000, dim: int = 16, k: int = 6, offset: float = 0.0, dtype: Any = np.float32) -> np.ndarray:
    """Overlapping clouds, so that Lloyd needs many iterations."""
    generator = np.random.default_rng(8)
    centres = generator.normal(size=(k, dim)) * 1.2
    return (centres[generator.integers(k, size=n)] + generator.normal(size=(n, dim)) + offset).astype(dtype)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reference(points: np.ndarray, start: np.ndarray, iterations: int) -> KMeans:
    machine = KMeans(len(start), init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
    return machine.fit(points)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("iterations", [1, 3, 20, 300])
@pytest.mark.parametrize("offset", [0.0, 40.0])
def test_equals_lloyd_of_scikit_learn_from_the_same_start(device: str, iterations: int, offset: float) -> None:
    points = blobs(offset=offset)
    start = points[:9].copy()
    expected = reference(points.astype(np.float64), start.astype(np.float64), iterations)
    given = torch.from_numpy(points).to(device)
    found = kmeans(given, 9, seeded(), iterations=iterations, start=torch.from_numpy(start))
    np.testing.assert_allclose(found.centroids.cpu(), expected.cluster_centers_, rtol=1e-5 if offset else 0, atol=1e-5)
    np.testing.assert_array_equal(found.assignment, expected.labels_)
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-5)
    assert found.iterations <= iterations


def test_converges_where_no_assignment_changes_and_says_after_how_many_updates() -> None:
    points = blobs()
    found = kmeans(torch.from_numpy(points), 9, seeded(), iterations=300, start=torch.from_numpy(points[:9]))
    assert 3 < found.iterations < 300
    means = np.stack([points[found.assignment == k].mean(0, dtype=np.float64) for k in range(9)])
    np.testing.assert_allclose(found.centroids, means, atol=1e-5)
    squared = ((points[:, None] - means[None]) ** 2).sum(2)
    np.testing.assert_array_equal(found.assignment, squared.argmin(1))


def test_double_precision_equals_scikit_learn_to_1e_12() -> None:
    points = blobs(dtype=np.float64, offset=5.0)
    expected = reference(points, points[:7], 50)
    found = kmeans(torch.from_numpy(points), 7, seeded(), iterations=50, start=torch.from_numpy(points[:7]))
    np.testing.assert_allclose(found.centroids, expected.cluster_centers_, rtol=1e-12)


@pytest.mark.parametrize("start", kmeans_module.STARTS)
def test_blocks_and_files_change_nothing(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.from_numpy(blobs())
    whole = kmeans(points, 5, seeded(), start=start)
    filed = FiledPoints(*points.shape, CPU)
    for first in range(0, len(points), 700):
        filed.put(first, points[first : first + 700])
    monkeypatch.setattr(kmeans_module, "_CPU_ROWS", 97)
    for source in (points, filed):
        apart = kmeans(source, 5, seeded(), start=start)
        np.testing.assert_array_equal(apart.assignment, whole.assignment)
        np.testing.assert_allclose(apart.centroids, whole.centroids, atol=1e-5)


@pytest.mark.parametrize("start", kmeans_module.STARTS)
def test_the_generator_alone_decides(start: str) -> None:
    points = torch.from_numpy(blobs())
    first, again, other = (kmeans(points, 6, seeded(s), start=start, iterations=2) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert not np.array_equal(first.centroids, other.centroids)
    torch.rand(10)  # the global state is neither read nor moved
    state = torch.get_rng_state()
    kmeans(points, 6, seeded(3), start=start)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("start", kmeans_module.STARTS)
def test_a_start_is_made_of_different_points(start: str) -> None:
    points = torch.from_numpy(blobs(n=40))
    for seed in range(20):
        centroids = kmeans_module._START[start](HeldPoints(points), 40, seeded(seed))
        assert len(np.unique(centroids.numpy(), axis=0)) == 40


def test_plus_plus_draws_in_proportion_to_squared_distance() -> None:
    """One far point among 99 at the origin and one at distance 1: from the origin it is drawn with 9 in 10."""
    points = torch.zeros(101, 2)
    points[99, 0], points[100, 1] = 1.0, 3.0
    firsts = [kmeans_module._START["k-means++"](HeldPoints(points), 2, seeded(s)) for s in range(2000)]
    second = np.array([c[1].tolist() for c in firsts if not c[0].any()])
    assert set(map(tuple, second)) == {(1.0, 0.0), (0.0, 3.0)}
    share = (second[:, 1] == 3).mean()
    assert scipy.stats.binomtest(int(share * len(second)), len(second), 0.9).pvalue > 0.001


def test_plus_plus_finds_separate_clouds_that_a_random_start_misses() -> None:
    generator = np.random.default_rng(0)
    clouds = np.repeat(np.arange(8)[:, None] * 100, 50, 0) + generator.normal(size=(400, 1))
    points = torch.from_numpy(clouds.astype(np.float32))
    better = [kmeans(points, 8, seeded(s), start="k-means++").inertia for s in range(10)]
    worse = [kmeans(points, 8, seeded(s), start="random").inertia for s in range(10)]
    assert max(better) < 1000 < np.median(worse)


HOLE = torch.tensor([[0.0], [0.2], [0.4], [9.0], [9.5], [30.0]]), torch.tensor([[0.1], [9.2], [-500.0]])
"""Points, and a start whose third centroid is nearest to none of them."""


def test_empty_farthest_is_the_rule_of_scikit_learn() -> None:
    points, start = HOLE
    for iterations in (1, 2, 20):
        found = kmeans(points, 3, seeded(), start=start, empty="farthest", iterations=iterations)
        expected = reference(points.double().numpy(), start.double().numpy(), iterations)
        np.testing.assert_allclose(found.centroids, expected.cluster_centers_, atol=1e-5)
        assert found.refilled == 1
    assert sizes(found.assignment, 3).min() > 0


def test_empty_split_halves_the_largest_cluster() -> None:
    points, start = HOLE
    found = kmeans(points, 3, seeded(), start=start, empty="split", iterations=1)
    # the sizes before are 3, 3, 0: the first of the largest, with the mean 0.2, is halved
    np.testing.assert_allclose(found.centroids[:, 0], [0.2 * (1 - 1 / 1024), 48.5 / 3, 0.2 * (1 + 1 / 1024)], rtol=1e-5)
    assert found.refilled == 1


def test_empty_keep_leaves_the_cluster_empty() -> None:
    points, start = HOLE
    found = kmeans(points, 3, seeded(), start=start, empty="keep")
    assert found.centroids[2].item() == -500
    assert sizes(found.assignment, 3).tolist() == [3, 3, 0]
    assert found.refilled == 0


@pytest.mark.parametrize("empty", kmeans_module.EMPTY)
@pytest.mark.parametrize("start", kmeans_module.STARTS)
def test_fewer_distinct_points_than_clusters_end_with_empty_clusters(empty: str, start: str) -> None:
    points = torch.tensor([[1.0, 2.0]] * 5 + [[3.0, 4.0]] * 5)
    found = kmeans(points, 4, seeded(), start=start, empty=empty)
    assert torch.isfinite(found.centroids).all()
    assert sorted(sizes(found.assignment, 4)) in ([0, 0, 5, 5], [0, 0, 0, 10])


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(SerbenchError, match="7 points can't form 10 clusters"):
        kmeans(torch.zeros(7, 3), 10, seeded())
    points = torch.from_numpy(blobs(n=50))
    points[7, 3] = torch.nan
    for start in kmeans_module.STARTS:
        with pytest.raises(SerbenchError, match="not all finite"):
            kmeans(points, 4, seeded(), start=start)


def test_faiss_finds_the_same_from_the_same_start() -> None:
    pytest.importorskip("faiss")
    points = torch.from_numpy(blobs())
    for start in ("k-means++", points[:9].clone()):
        ours = kmeans(points, 9, seeded(), start=start)
        theirs = kmeans(points, 9, seeded(), start=start, backend="faiss")
        np.testing.assert_allclose(theirs.centroids, ours.centroids, atol=1e-4)
        np.testing.assert_array_equal(theirs.assignment, ours.assignment)
        assert theirs.inertia == pytest.approx(ours.inertia, rel=1e-4)


def test_without_faiss_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(SerbenchError, match=r"serbench\[faiss\]"):
        kmeans(torch.from_numpy(blobs(n=50)), 4, seeded(), backend="faiss")


@pytest.mark.parametrize("keep_bytes", [0, 10**9])
def test_whitening_is_pca_whitening_and_unit_length(keep_bytes: int) -> None:
    points = blobs(offset=3.0) @ np.diag(np.linspace(0.5, 4, 16)).astype(np.float32)
    found = next(whiten(HeldPoints(torch.from_numpy(points)), 5, keep_bytes).blocks(10**6))
    expected = normalize(PCA(5, whiten=True, svd_solver="full").fit_transform(points.astype(np.float64)))
    np.testing.assert_allclose(found.abs().numpy(), np.abs(expected), atol=2e-5)  # an axis has no sign
    np.testing.assert_allclose((found @ found.T).numpy(), expected @ expected.T, atol=1e-4)


def test_whitening_of_flat_directions_stays_finite() -> None:
    points = torch.from_numpy(blobs(n=200))
    points[:, 3:] = 2.0
    found = next(whiten(HeldPoints(points), 16, 10**6).blocks(10**6))
    assert torch.isfinite(found).all()
    assert not found[:, 3:].any()
    with pytest.raises(SerbenchError, match="1 to 16"):
        whiten(HeldPoints(points), 17, 0)


@pytest.mark.parametrize("keep_bytes", [0, 10**9])
def test_points_come_back_as_they_were_put(keep_bytes: int) -> None:
    rows = torch.from_numpy(blobs(n=50))
    points: Points = make_points(50, 16, CPU, keep_bytes)
    assert isinstance(points, FiledPoints if keep_bytes == 0 else HeldPoints)
    points.put(20, rows[20:])
    points.put(0, rows[:20])
    assert torch.equal(torch.cat([b.clone() for b in points.blocks(7)]), rows)
    assert torch.equal(points.take(np.array([49, 0, 20])), rows[[49, 0, 20]])


def test_sizes_entropy_and_nmi_against_other_libraries() -> None:
    generator = np.random.default_rng(5)
    a, b = generator.integers(5, size=400), generator.integers(7, size=400)
    b[:200] = a[:200]
    assert nmi(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)
    assert nmi(a, a) == pytest.approx(1)
    assert nmi(a, (a + 3) % 5) == pytest.approx(1)
    assert nmi(np.zeros(9, int), np.zeros(9, int)) == normalized_mutual_info_score(np.zeros(9), np.zeros(9)) == 1
    assert nmi(np.zeros(400, int), b) == pytest.approx(normalized_mutual_info_score(np.zeros(400), b), abs=1e-12)
    counts = sizes(a, 6)
    assert counts.tolist() == [int((a == k).sum()) for k in range(6)]
    assert entropy(counts) == pytest.approx(scipy.stats.entropy(counts, base=6))
    assert entropy(np.array([4, 4, 4])) == pytest.approx(1)
    assert entropy(np.array([9, 0, 0])) == 0
    assert partitions.entropy(np.array([9])) == 0
