"""Files of graphs, hop features and folds: the same in another process, and refused where they were changed."""

from __future__ import annotations

import subprocess
import sys
import uuid

import numpy as np
import pandas as pd
import pytest

from causalkit import load, save
from causalkit.exceptions import GraphError, PersistenceError
from causalkit.graph import Graph, GraphKFold, HopFeatures
from causalkit.nn.stacked import StackedMLP
from tests.graph.networks import random_edges
from tests.test_persistence import rewrite

EDGES = random_edges(30, 45, np.random.default_rng(0))  # with repeats, self-loops and isolates
TEXT = np.char.add("é", EDGES.astype(str))
NAMES = [f"é{i}" for i in range(32)]


def with_some_features():
    graph = Graph.from_edges(TEXT, nodes=NAMES)
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(20, 2)), columns=["age", "höhe"], index=NAMES[5:25])
    return graph.with_features(frame, nodes=frame.index)


def karate_club():
    nx = pytest.importorskip("networkx", reason="conversion from networkx")
    return Graph.from_networkx(nx.karate_club_graph(), weight="weight")


GRAPHS = {
    "positions and isolates": lambda: Graph.from_edges(EDGES, n_nodes=33),
    "text": lambda: Graph.from_edges(TEXT, nodes=NAMES),
    "integers": lambda: Graph.from_edges(EDGES * 7 - 5),
    "floats": lambda: Graph.from_edges(EDGES / 2),
    "dates": lambda: Graph.from_edges(EDGES.astype("M8[D]")),
    "pairs": lambda: Graph.from_edges([((int(u), "a"), (int(v), "b")) for u, v in EDGES]),
    "kinds of ids": lambda: Graph.from_edges([(int(u), f"b{v}") for u, v in EDGES]),
    "weights": lambda: Graph.from_edges(EDGES, n_nodes=30, weights=np.arange(45) / 7, directed=True),
    "directed": lambda: Graph.from_edges(EDGES, n_nodes=30, directed=True),
    "no edges": lambda: Graph.from_edges(np.empty((0, 2)), n_nodes=3),
    "some features": with_some_features,
    "all features": lambda: Graph.from_edges(EDGES, n_nodes=30).with_features(np.arange(60.0).reshape(30, 2)),
    "union": lambda: Graph.concat([Graph.from_edges([("a", "b")]), Graph.from_edges([("c", "d"), ("d", "e")])]),
    "part": lambda: with_some_features().subgraph(NAMES[10:20]),
    "frame": lambda: Graph.from_pandas(pd.DataFrame(TEXT, columns=["source", "target"], dtype="category")),
    "networkx": karate_club,
}


def assert_same_graph(first, second):
    assert (first.fingerprint, repr(first)) == (second.fingerprint, repr(second))
    pd.testing.assert_index_equal(first.nodes, second.nodes, exact=True)
    for kind in ("raw", "binary", "mean", "sym"):
        one, two = first.adjacency(kind), second.adjacency(kind)
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
            assert getattr(one, part).dtype == getattr(two, part).dtype
    np.testing.assert_equal(first.features, second.features)
    np.testing.assert_equal(first.feature_rows, second.feature_rows)
    assert first.feature_names == second.feature_names
    assert first.report.edges == second.report.edges
    np.testing.assert_equal(first.report.piece, second.report.piece)
    assert (first.report.isolates, first.report.components) == (second.report.isolates, second.report.components)


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_comes_back(kind, tmp_path):
    graph = GRAPHS[kind]()
    save(graph, tmp_path / "f")
    again = load(tmp_path / "f")
    assert_same_graph(again, graph)
    np.testing.assert_array_equal(again.positions(graph.nodes), np.arange(graph.n_nodes))
    with pytest.raises(AttributeError, match="immutable"):
        again.directed = True
    for array in (again.adjacency().data, again.adjacency().indices, again.features):
        assert array is None or not array.flags.writeable
    save(again, tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()


def test_another_process_reads_the_same_graph(tmp_path):
    graph = with_some_features()
    save(graph, tmp_path / "f")
    code = (
        "import sys\nfrom causalkit import load\ng = load(sys.argv[1])\n"
        "print(g.fingerprint, g.positions(['é7'])[0], float(g.features.sum()), g.feature_names[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [graph.fingerprint, "7", str(float(graph.features.sum())), "age"]


def test_ids_that_a_file_cannot_hold_are_named(tmp_path):
    graph = Graph.from_edges([(uuid.UUID(int=1), uuid.UUID(int=2))])
    with pytest.raises(PersistenceError, match=r"_nodes is an object array that holds a UUID"):
        save(graph, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_changed_bytes_are_refused_or_harmless(tmp_path):
    path, graph = tmp_path / "f", GRAPHS["weights"]()
    save(graph, path)
    data = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.choice(len(data), 250, replace=False):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            again = load(path)
        except PersistenceError:
            refused += 1
        else:
            assert_same_graph(again, graph)
    assert refused > 150
    for length in range(0, len(data), 199):
        path.write_bytes(data[:length])
        with pytest.raises(PersistenceError):
            load(path)


@pytest.mark.parametrize("which, bad", [("_indices", 99), ("_indices", -1), ("_indptr", 99)])
def test_positions_beyond_the_ends_are_refused(which, bad, tmp_path):
    """As in a file that somebody edited with every digest computed anew."""
    graph = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3)
    state = graph.__getstate__()
    state[which] = np.append(state[which][:-1], np.int32(bad))
    broken = object.__new__(Graph)
    broken.__setstate__(state)
    save(broken, tmp_path / "f")
    with pytest.raises(GraphError, match="do not fit together"):
        load(tmp_path / "f").adjacency()


def test_no_other_class_takes_the_place_of_a_graph(tmp_path):
    save(Graph.from_edges([(0, 1)], n_nodes=2), tmp_path / "f")
    rewrite(tmp_path / "f", lambda manifest: manifest["object"].update({"class": "os:system"}))
    with pytest.raises(PersistenceError, match="the file names the class"):
        load(tmp_path / "f")


@pytest.mark.parametrize("kind", ["text", "weights", "some features"])
@pytest.mark.parametrize("operators", [("sym", "mean"), ("max", "std")])
def test_hop_features_come_back(kind, operators, tmp_path):
    graph = GRAPHS[kind]()
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.normal(size=(graph.n_nodes, 2)), columns=["age", "höhe"], index=graph.nodes)
    hop = HopFeatures(operators=operators).fit(X, graph=graph, nodes=graph.nodes)
    save(hop, tmp_path / "f")
    again = load(tmp_path / "f")
    assert_same_graph(again.graph_, graph)
    np.testing.assert_array_equal(again.transform(X, nodes=graph.nodes), hop.transform(X, nodes=graph.nodes))
    other = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3, directed=graph.directed)
    new = X.iloc[:3].reset_index(drop=True)
    np.testing.assert_array_equal(again.transform(new, graph=other), hop.transform(new, graph=other))
    assert again.get_feature_names_out().tolist() == hop.get_feature_names_out().tolist()
    pd.testing.assert_frame_equal(again.report_, hop.report_)


def test_the_same_graph_is_stored_once(tmp_path):
    """Two transformers of one graph point at one graph after loading too."""
    graph = Graph.from_edges(EDGES, n_nodes=30)
    X = np.random.default_rng(3).normal(size=(30, 2))
    save([HopFeatures(hops=h).fit(X, graph=graph) for h in (1, 2)], tmp_path / "f")
    first, second = load(tmp_path / "f")
    assert first.graph_ is second.graph_


def test_folds_come_back(tmp_path):
    graph = Graph.from_edges(EDGES, n_nodes=30)
    X = np.zeros((30, 1))
    folds = GraphKFold(3, parts_per_fold=2, partitioner="label_propagation", random_state=4)
    before = list(folds.split(X, graph=graph))
    save(folds, tmp_path / "f")
    again = load(tmp_path / "f")
    assert repr(again) == repr(folds)
    pd.testing.assert_frame_equal(again.report_, folds.report_)
    for (train, test), (train_again, test_again) in zip(before, again.split(X, graph=graph), strict=True):
        np.testing.assert_array_equal(train, train_again)
        np.testing.assert_array_equal(test, test_again)


def test_a_network_of_plain_arrays_comes_back(tmp_path):
    rng = np.random.default_rng(5)
    network = StackedMLP(
        weights=(rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 4, 1)).astype(np.float32)),
        biases=(rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(2, 1)).astype(np.float32)),
        loss="squared",
        center=np.array([0.5]),
        scale=2.0,
        validation_loss=np.array([1.0, np.nan]),
        n_iter=np.array([3, 4]),
        loss_curve=(np.ones(3), np.ones(4)),
    )
    save(network, tmp_path / "f")
    X = rng.normal(size=(6, 3))
    np.testing.assert_array_equal(load(tmp_path / "f").predict(X), network.predict(X))
