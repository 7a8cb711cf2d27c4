"""GNNRegressor and GNNClassifier: layers against torch_geometric's and dense products, fits, storing, failures."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

import causalkit.graph.encoder_base as encoder_base
import causalkit.graph.encoder_outputs as encoder_outputs
import causalkit.graph.encoder_training as encoder_training
from causalkit import load, save
from causalkit.datasets import make_graph_paper
from causalkit.exceptions import (
    AlignmentError,
    DeviceUnavailableError,
    GraphCoverageWarning,
    GraphError,
    MissingDependencyError,
    PersistenceError,
)
from causalkit.graph import GNNClassifier, GNNRegressor, Graph, HopFeatures
from causalkit.nn import fit_stacked_mlp, torch_generator
from tests.graph.networks import barabasi_albert, dense_adjacency, mean_matrix, sym_matrix

torch = pytest.importorskip("torch")
geometric = pytest.importorskip("torch_geometric.nn")

from causalkit.graph import neural  # noqa: E402

ENCODERS = ("sign", "sage", "gcn", "gat", "gin")
MESSAGES = ENCODERS[1:]
QUICK = {"max_iter": 6, "n_bags": 2, "hidden": 8, "heads": 2, "random_state": 0, "device": "cpu"}
EDGES = barabasi_albert(120, 3, np.random.default_rng(0))
GRAPH = Graph.from_edges(EDGES, n_nodes=120)


class Convolution(torch.nn.Module):
    """A network of a user's own: two products with the adjacency."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.own = torch.nn.Linear(n_features, n_outputs)
        self.around = torch.nn.Linear(n_features, n_outputs)

    def forward(self, x, adjacency):
        return self.own(x) + self.around(adjacency @ x)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 3)) * [1.0, 5.0, 1.0] + [0.0, 10.0, 0.0]
    y = 2 * X[:, 0] + GRAPH.adjacency("mean") @ X[:, 2] + 0.2 * rng.normal(size=120)
    return X, y


# ---------------------------------------------------------------------- layers


@pytest.mark.parametrize("directed", [False, True])
def test_product_and_its_gradient_are_dense_products(directed):
    graph = Graph.from_edges(EDGES, n_nodes=120, directed=directed)
    A = graph.adjacency("raw").toarray()
    operator = neural.make_operator(graph.adjacency("raw"), torch.device("cpu"), symmetric=not directed)
    x = torch.randn(120, 4, generator=torch_generator(0), requires_grad=True)
    weight = torch.randn(120, 4, generator=torch_generator(1))
    out = neural.csr_product(operator.matrix, x)
    (out * weight).sum().backward()
    np.testing.assert_allclose(out.detach(), A @ x.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(x.grad, A.T @ weight.numpy(), atol=1e-5)


def _reference(kind, layer):
    """torch_geometric's own layer with the same weights, on an edge index."""
    index = torch.as_tensor(np.vstack([EDGES, EDGES[:, ::-1]]).T.copy())
    own = layer.convolution
    if kind == "sage":
        other = geometric.SAGEConv(5, 4)
    elif kind == "gcn":
        other = geometric.GCNConv(5, 4, bias=False)  # normalises the edge index itself
    elif kind == "gin":
        other = geometric.GINConv(own.nn)
    else:
        other = geometric.GATConv(5, 2, 2, add_self_loops=False, bias=False)
    other.load_state_dict(own.state_dict())
    return lambda x: other(x, index) + (0 if layer.root is None else layer.root(x))


@pytest.mark.parametrize("kind", MESSAGES)
def test_layers_and_their_gradients_are_those_of_torch_geometric_on_an_edge_index(kind):
    network = neural.make_network(kind, 5, 4, 1, 1, 2, 0.0, torch_generator(3))
    layer = network.layers[0]
    matrix = GRAPH.adjacency(neural.KIND_OF_ENCODER[kind])
    operator = neural.make_operator(matrix, torch.device("cpu"), symmetric=kind != "sage", attention=kind == "gat")
    reference = _reference(kind, layer)
    gradients = []
    for call in (lambda x: layer(x, x, operator), reference):
        x = torch.randn(120, 5, generator=torch_generator(4)).requires_grad_()
        out = call(x)
        (out * torch.randn(out.shape, generator=torch_generator(5))).sum().backward()
        gradients.append((out.detach(), x.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind, matrix", [("sage", mean_matrix), ("gcn", sym_matrix)])
def test_network_is_the_formula(kind, matrix):
    """W₀h + W₁Rh and W₀h + W₁Sh by dense matrices, twice, and a linear map."""
    network = neural.make_network(kind, 3, 6, 2, 2, 1, 0.0, torch_generator(0))
    with torch.no_grad():
        network.head.weight.uniform_(-1, 1, generator=torch_generator(1))
    M = matrix(dense_adjacency(EDGES, 120))
    operator = neural.make_operator(GRAPH.adjacency(neural.KIND_OF_ENCODER[kind]), torch.device("cpu"))
    x = torch.randn(120, 3, generator=torch_generator(2))
    h = x.numpy().astype(float)
    for layer in network.layers:
        conv = layer.convolution
        if kind == "sage":
            out = h @ conv.lin_r.weight.detach().numpy().T + M @ h @ conv.lin_l.weight.detach().numpy().T
            out = out + conv.lin_l.bias.detach().numpy()
        else:
            out = h @ layer.root.weight.detach().numpy().T + layer.root.bias.detach().numpy()
            out = out + M @ h @ conv.lin.weight.detach().numpy().T
        h = np.maximum(out, 0)
    expected = h @ network.head.weight.detach().numpy().T
    np.testing.assert_allclose(network(x, operator).detach(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", MESSAGES)
def test_sampled_blocks_and_blocks_of_rows_give_the_outputs_of_the_whole_graph(kind, data, monkeypatch):
    model = GNNRegressor(encoder=kind, **QUICK).fit(*data, graph=GRAPH)
    X = data[0]
    whole = model.predict(X)
    monkeypatch.setattr(encoder_outputs, "LARGE_GRAPH", 50)
    monkeypatch.setattr(encoder_outputs, "_BLOCK_ROWS", 37)
    np.testing.assert_allclose(model.predict(X), whole, rtol=1e-4, atol=1e-4)
    covered = encoder_base.covered_graph(X, np.arange(120), GRAPH)
    part = model._data(covered, kind, torch.device("cpu"))
    module = model._networks()[0]
    seeds = np.array([3, 99, 0])
    blocks = encoder_training.sample_blocks(part.matrix, seeds, (200, 200), np.random.default_rng(0))
    operators = [neural.make_operator(m, part.device, attention=kind == "gat") for m in blocks.matrices]
    out = module(torch.as_tensor(part.x[blocks.nodes]), operators).detach().numpy()
    expected = encoder_outputs.network_outputs(model._networks()[0], part)[seeds]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_start_does_not_touch_the_global_generator_and_is_the_mean(data):
    before = torch.get_rng_state()
    first, second = (neural.make_network("gin", 3, 4, 2, 1, 1, 0.0, torch_generator(7)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b) and torch.isfinite(a).all()
    operator = neural.make_operator(GRAPH.adjacency("raw"), torch.device("cpu"))
    assert not first(torch.ones(120, 3), operator).any()


# ---------------------------------------------------------------------- what is learned


def test_every_encoder_keeps_the_own_covariates():
    """Accuracy for a treatment that follows an own covariate, beside a perceptron on own covariates."""
    hits = {name: [] for name in (*ENCODERS, "own")}
    for seed in range(2):
        sample = make_graph_paper(1000, graph="ba", random_state=seed)
        graph = Graph.from_scipy(sample.adjacency).with_features(sample.X)
        order = np.random.default_rng(seed).permutation(1000)
        train, test = order[:600], order[600:]
        t = sample.treatment
        own = fit_stacked_mlp(sample.X[train], t[train], loss="log", n_outputs=2, seed=seed, device="cpu")
        hits["own"].append((own.predict(sample.X[test]).argmax(axis=1) == t[test]).mean())
        for encoder in ENCODERS:
            model = GNNClassifier(encoder=encoder, n_bags=2, patience=10, random_state=seed, device="cpu")
            model.fit(sample.X[train], t[train], graph=graph, nodes=train)
            hits[encoder].append(model.score(sample.X[test], t[test], nodes=test))
    # 800 nodes that nobody was fitted on: differences have a standard error of about .012.
    for encoder in ENCODERS:
        assert np.mean(hits[encoder]) >= np.mean(hits["own"]) - 0.03, (encoder, hits)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_neighbours_are_used_and_other_nodes_are_not_fitted(encoder):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 2))
    graph = Graph.from_edges(rng.integers(0, 400, size=(1200, 2)), n_nodes=400).with_features(X)
    y = 2.0 * (graph.adjacency("mean") @ X[:, 0]) + 50
    train, test = np.arange(300), np.arange(300, 400)
    model = GNNRegressor(
        encoder=encoder,
        n_bags=1,
        hidden=16,
        learning_rate=0.02,
        max_iter=150,
        patience=25,
        random_state=0,
        device="cpu",
    )
    model.fit(X[train], y[train], graph=graph, nodes=train)
    assert model.score(X[test], y[test], nodes=test) > 0.6
    own = fit_stacked_mlp(X[train], y[train], seed=0, device="cpu").predict(X[test])[:, 0]
    assert np.mean((own - y[test]) ** 2) > 0.9 * y[test].var()
    assert model.predict(X[:1], nodes=[0]).shape == (1,)
    # Outcomes of other nodes are never seen: they are not even passed.
    assert len(model.n_iter_) == len(model.validation_loss_) == len(model.loss_curve_) == 1
    assert len(model.loss_curve_[0]) == model.n_iter_[0]
    assert model.validation_loss_[0] < y.var()


def test_sign_is_a_perceptron_on_hop_features(data):
    X, y = data
    model = GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
    hop = HopFeatures().fit(X, graph=GRAPH)
    columns = hop.transform(X) * np.minimum(hop.column_scale_, 1)
    expected = model.target_center_ + model.target_scale_ * model.network_.predict(columns)[:, 0]
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5)
    np.testing.assert_allclose([model.target_center_, model.target_scale_], [y.mean(), y.std()])


@pytest.mark.parametrize("encoder", ["sign", "gcn"])
def test_probabilities_start_from_the_class_shares(encoder):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [60, 40, 20])
    model = GNNClassifier(encoder=encoder, learning_rate=1e-9, **{**QUICK, "max_iter": 1})
    model.fit(rng.normal(size=(120, 2)), y, graph=GRAPH)
    assert model.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(model.predict_proba(rng.normal(size=(120, 2))), [[1 / 2, 1 / 3, 1 / 6]] * 120, atol=1e-6)


def test_weights_decide_what_is_fitted(data):
    X, y = data
    weight = np.where(np.arange(120) < 60, 1.0, 0.0)
    for encoder in ("sign", "gcn"):
        one, two = (
            GNNRegressor(encoder=encoder, **QUICK).fit(X, outcome, graph=GRAPH, sample_weight=weight)
            for outcome in (y, np.where(weight > 0, y, 1e3))
        )
        np.testing.assert_array_equal(one.predict(X), two.predict(X))
        assert not np.array_equal(one.predict(X), GNNRegressor(encoder=encoder, **QUICK).fit(X, y, graph=GRAPH))
        scaled = GNNRegressor(encoder=encoder, **QUICK).fit(X, y, graph=GRAPH, sample_weight=7 * weight)
        np.testing.assert_allclose(scaled.predict(X), one.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", ["sage", "gin", "gat", "gcn", "sign"])
def test_batches_learn_on_sampled_neighbourhoods(encoder):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(500, 2))
    graph = Graph.from_edges(rng.integers(0, 500, size=(2500, 2)), n_nodes=500)
    y = 1.5 * X[:, 1] + 2 * (graph.adjacency("mean") @ X[:, 0])
    model = GNNRegressor(
        encoder=encoder, batch_size=100, hidden=16, fanout=(4, 4), n_bags=1, max_iter=30, learning_rate=0.02,
        random_state=0, device="cpu", dropout=0.05 if encoder == "sign" else 0.0,
    ).fit(X, y, graph=graph)  # fmt: skip
    assert model.score(X, y) > 0.7


def test_dropout_is_of_training_only(data):
    X, y = data
    for encoder in ("sign", "sage"):
        model = GNNRegressor(encoder=encoder, dropout=0.5, **QUICK).fit(X, y, graph=GRAPH)
        assert np.array_equal(model.predict(X), model.predict(X))
        without = GNNRegressor(encoder=encoder, **QUICK).fit(X, y, graph=GRAPH)
        assert not np.allclose(model.predict(X), without.predict(X))
        again = clone(model).fit(X, y, graph=GRAPH)
        assert np.array_equal(again.predict(X), model.predict(X))


# ---------------------------------------------------------------------- a module of one's own


def test_module_of_ones_own(data):
    X, y = data
    module = Convolution(3, 1)
    before = [value.clone() for value in module.parameters()]
    state = torch.get_rng_state()
    model = GNNRegressor(encoder=module, max_iter=200, learning_rate=0.05, n_bags=2, random_state=0, device="cpu")
    model.fit(X, y, graph=GRAPH)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert model.score(X, y) > 0.6
    z = torch.as_tensor(((X - X.mean(0)) / X.std(0)).astype(np.float32))
    adjacency = torch.as_tensor(GRAPH.adjacency("raw").toarray())
    raw = np.mean([copy(z, adjacency).detach().numpy()[:, 0] for copy in model.modules_], axis=0)
    np.testing.assert_allclose(model.predict(X), model.target_center_ + model.target_scale_ * raw, rtol=1e-3, atol=1e-3)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_function_that_makes_a_module_starts_every_bag_anew(data):
    X, y = data
    model = GNNClassifier(encoder=Convolution, **QUICK).fit(X, y > y.mean(), graph=GRAPH)
    first, second = (module.own.weight for module in model.modules_)
    assert not torch.equal(first, second)
    again = clone(model).fit(X, y > y.mean(), graph=GRAPH)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    logits = [
        encoder_outputs.network_outputs(m, model._data(encoder_base.covered_graph(X, np.arange(120), GRAPH), "module",
                                                        torch.device("cpu")))
        for m in model._networks()
    ]  # fmt: skip
    expected = np.mean([softmax(out + model.target_offset_, axis=1) for out in logits], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), expected)


def test_module_of_torch_geometric(data):
    X, y = data
    encoder = geometric.GraphSAGE(3, 8, 2, 1)
    model = GNNRegressor(encoder=encoder, **{**QUICK, "max_iter": 150}, learning_rate=0.02).fit(X, y, graph=GRAPH)
    assert model.score(X, y) > 0.5


@pytest.mark.parametrize(
    "encoder, kind, message",
    [
        (7, ValueError, "encoder must be one of 'sign'.*or a function"),
        ("mlp", ValueError, "encoder must be one of"),
        (lambda p, k: 3, TypeError, "encoder: the function returned a int"),
        (lambda p, k: _Flat(), ValueError, r"must return one row per node, shape \(120, outputs\).*got \(360,\)"),
    ],
)
def test_modules_that_do_not_fit(data, encoder, kind, message):
    with pytest.raises(kind, match=message):
        GNNRegressor(encoder=encoder, **QUICK).fit(*data, graph=GRAPH)


class _Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, adjacency):
        return self.factor * x.reshape(-1)


# ---------------------------------------------------------------------- scikit-learn, other graphs, files


@pytest.mark.parametrize("encoder", ENCODERS)
def test_other_graph_and_order_of_rows(encoder, data):
    """The nodes of a graph in another order, as another graph: predictions go along."""
    X, y = data
    model = GNNRegressor(encoder=encoder, **QUICK).fit(X, y, graph=GRAPH)
    order = np.random.default_rng(0).permutation(120)
    place = np.argsort(order)
    other = Graph.from_edges(place[EDGES], n_nodes=120)
    np.testing.assert_allclose(model.predict(X[order], graph=other), model.predict(X)[order], rtol=1e-6, atol=1e-6)
    shuffled = model.predict(X[order], nodes=order)
    np.testing.assert_allclose(shuffled, model.predict(X)[order], rtol=1e-6, atol=1e-6)
    few = GRAPH.with_features(X)
    np.testing.assert_allclose(
        model.predict(X[:7], graph=few, nodes=np.arange(7)), model.predict(X)[:7], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("cls", [GNNRegressor, GNNClassifier])
def test_save_load_and_pickle(encoder, cls, data, tmp_path):
    X, y = data
    outcome = y if cls is GNNRegressor else np.where(y > y.mean(), "high", "low")
    model = cls(encoder=encoder, **QUICK).fit(X, outcome, graph=GRAPH)
    save(model, tmp_path / "model.causalkit")
    for again in (load(tmp_path / "model.causalkit"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.predict(X), model.predict(X))
        assert again.get_params() == model.get_params()
        if cls is GNNClassifier:
            assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
        later = again.set_params(hidden=3, encoder="sage")  # parameters of the next fit, not of this one
        assert np.array_equal(later.predict(X), model.predict(X))


def test_saved_sign_predicts_without_torch(data, tmp_path):
    X, y = data
    model = GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
    save(model, tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torch_geometric"):
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
import numpy as np
from causalkit import load
folder = {str(tmp_path)!r}
np.save(folder + "/out.npy", load(folder + "/model").predict(np.load(folder + "/X.npy")))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict(X))


def test_modules_of_ones_own_are_not_saved(data, tmp_path):
    model = GNNRegressor(encoder=Convolution(3, 1), **QUICK).fit(*data, graph=GRAPH)
    with pytest.raises(PersistenceError, match=r"GNNRegressor\.encoder"):
        save(model, tmp_path / "model")


def test_frames_ids_and_names(data):
    X, y = data
    ids = [f"n{i}" for i in range(120)]
    graph = Graph.from_edges([(ids[u], ids[v]) for u, v in EDGES], nodes=ids)
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=ids)
    model = GNNRegressor(**QUICK).fit(frame, pd.Series(y, index=ids), graph=graph)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    plain = GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))


def test_routing_slices_nodes_and_leaves_the_graph(data):
    X, y = data
    graph = GRAPH.with_features(X)
    with sklearn.config_context(enable_metadata_routing=True):
        model = GNNRegressor(**QUICK).set_fit_request(graph=True, nodes=True, sample_weight=True)
        model.set_score_request(graph=True, nodes=True, sample_weight=False)
        search = GridSearchCV(model, {"hidden": [4, 8]}, cv=KFold(3), error_score="raise")
        search.fit(X, y, graph=graph, nodes=np.arange(120), sample_weight=np.ones(120))
    train, test = next(KFold(3).split(X))
    by_hand = (
        clone(GNNRegressor(**QUICK))
        .set_params(hidden=4)
        .fit(X[train], y[train], graph=graph, nodes=train, sample_weight=np.ones(80))
    )
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(by_hand.score(X[test], y[test], nodes=test))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_same_seed_same_numbers(encoder, data):
    X, y = data
    before = torch.get_rng_state()
    one, two, other = (
        GNNRegressor(encoder=encoder, **{**QUICK, "random_state": s}).fit(X, y, graph=GRAPH) for s in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(one.predict(X), two.predict(X))
    assert not np.array_equal(one.predict(X), other.predict(X))


# ---------------------------------------------------------------------- devices


class _FactoryCalls(torch.overrides.TorchFunctionMode):
    """Record calls that make a tensor out of nothing and do not say on which device."""

    names = ("tensor", "as_tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn", "randint", "randperm",
             "linspace", "eye", "sparse_csr_tensor")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.without: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.names and getattr(torch, name) is func and "device" not in (kwargs or {}):
            caller = sys._getframe(1)
            while caller is not None and "causalkit" not in caller.f_code.co_filename:
                caller = caller.f_back
            if caller is not None:
                self.without.append(f"{name} in {Path(caller.f_code.co_filename).name}")
        return func(*args, **(kwargs or {}))


# The order of the rows is drawn on the CPU for every device, and fitted weights are copied into modules there.
_ON_THE_CPU = {"randperm in training.py", "as_tensor in state.py"}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("batch_size", ["auto", 40])
def test_every_tensor_is_made_on_the_device_asked_for(encoder, batch_size, data):
    X, y = data
    with _FactoryCalls() as calls:
        for dropout in (0.0, 0.1):
            model = GNNClassifier(encoder=encoder, dropout=dropout, batch_size=batch_size, **QUICK)
            model.fit(X, y > y.mean(), graph=GRAPH).predict_proba(X)
    assert set(calls.without) <= _ON_THE_CPU


def test_the_record_of_calls_sees_a_tensor_without_a_device(data, monkeypatch):
    original = neural.csr_tensor

    def careless(matrix, device, **options):
        torch.zeros(3)
        return original(matrix, device, **options)

    monkeypatch.setattr(neural, "csr_tensor", careless)
    # A call counts for the first file of the package above it: here that of the careless function's caller.
    with _FactoryCalls() as calls:
        GNNRegressor(encoder="gcn", **QUICK).fit(*data, graph=GRAPH)
    assert "zeros in neural.py" in calls.without


@pytest.mark.gpu
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("batch_size", ["auto", 40])
def test_gpu_gives_the_numbers_of_the_cpu(encoder, batch_size, data):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    X, y = data
    options = {"encoder": encoder, "batch_size": batch_size, **QUICK}
    cpu = GNNRegressor(**options).fit(X, y, graph=GRAPH)
    gpu = GNNRegressor(**{**options, "device": "cuda"}).fit(X, y, graph=GRAPH)
    assert gpu.device_ == "cuda"
    np.testing.assert_allclose(gpu.predict(X), cpu.predict(X), rtol=1e-2, atol=1e-2 * y.std())
    # The same weights: single differences of rounding only.
    np.testing.assert_allclose(gpu.set_params(device="cpu").predict(X), gpu.set_params(device="cuda").predict(X),
                               rtol=1e-4, atol=1e-4)  # fmt: skip


def test_importing_the_family_loads_no_torch():
    code = "import sys, causalkit.graph\nprint([m for m in ('torch', 'torch_geometric') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------- failures


def test_graph_and_rows_that_do_not_match(data):
    X, y = data
    with pytest.raises(TypeError, match="graph is missing"):
        GNNRegressor(**QUICK).fit(X, y)
    with pytest.raises(TypeError, match=r"use Graph.from_edges\(graph\)"):
        GNNRegressor(**QUICK).fit(X, y, graph=EDGES)
    with pytest.raises(AlignmentError, match="X has 50 rows, the graph 120 nodes"):
        GNNRegressor(**QUICK).fit(X[:50], y[:50], graph=GRAPH)
    with pytest.raises(AlignmentError, match="1 of 120 ids are not in the graph"):
        GNNClassifier(**QUICK).fit(X, y > 0, graph=GRAPH, nodes=np.arange(1, 121))
    model = GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
    directed = Graph.from_edges(EDGES, n_nodes=120, directed=True)
    with pytest.raises(GraphError, match="graph is a directed one, but fit saw an undirected one"):
        model.predict(X, graph=directed)
    with pytest.raises(ValueError, match="X has 2 features, but GNNRegressor is expecting 3 features"):
        model.predict(X[:, :2])
    with pytest.raises(NotFittedError):
        GNNRegressor().predict(X)


@pytest.mark.parametrize("encoder", ["sign", "gcn"])
def test_missing_neighbours_are_said(encoder, data):
    X, y = data
    rows = np.arange(60)
    with pytest.warns(GraphCoverageWarning, match="with_features"):
        model = GNNRegressor(encoder=encoder, **QUICK).fit(X[rows], y[rows], graph=GRAPH, nodes=rows)
    with pytest.warns(GraphCoverageWarning, match="with_features"):
        model.predict(X[rows], nodes=rows)
    empty = Graph.from_edges(np.empty((0, 2), int), n_nodes=120)
    with pytest.warns(GraphCoverageWarning, match="no edges"):
        GNNRegressor(encoder=encoder, **QUICK).fit(X, y, graph=empty)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden": 0}, "hidden must be an integer at least 1"),
        ({"n_layers": 0}, "n_layers must be an integer at least 1"),
        ({"encoder": "gat", "heads": 3}, "hidden=8 must be a multiple of heads=3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"validation_fraction": 0.0}, "validation_fraction must be a finite number above 0"),
        ({"validation_fraction": 1.5}, "validation_fraction must lie between 0 and 1"),
        ({"batch_size": "all"}, "batch_size must be one of 'auto'"),
        ({"fanout": 10}, "fanout must be a tuple with one number of neighbours per layer"),
        ({"encoder": "sage", "batch_size": 10, "fanout": (5,)}, r"fanout must have one entry per layer: expected 2"),
        ({"n_bags": 0}, "n_bags must be an integer at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0"),
        ({"device": "gpu"}, "device must be 'auto'"),
    ],
)
def test_options_that_make_no_sense(data, change, message):
    with pytest.raises(ValueError, match=message):
        GNNRegressor(**{**QUICK, **change}).fit(*data, graph=GRAPH)


@pytest.mark.parametrize(
    "X, y, message",
    [
        (slice(None), lambda y: y[:50], "y has 50 rows, but X has 120"),
        (slice(None), lambda y: np.where(np.arange(120) == 7, np.nan, y), "y contains NaN or infinity in 1"),
        (slice(None), lambda y: None, "requires y to be passed"),
    ],
)
def test_outcomes_that_cannot_be_used(data, X, y, message):
    for model in (GNNRegressor(**QUICK), GNNClassifier(**QUICK)):
        with pytest.raises(ValueError, match=message):
            model.fit(data[0][X], y(data[1]), graph=GRAPH)


def test_covariates_that_cannot_be_used(data):
    X, y = data
    bad = X.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="X contains NaN or infinity in 1 of 3 columns"):
        GNNRegressor(**QUICK).fit(bad, y, graph=GRAPH)
    with pytest.raises(ValueError, match=r"columns do not: 'b'"):
        GNNRegressor(**QUICK).fit(pd.DataFrame({"a": X[:, 0], "b": ["x"] * 120}), y, graph=GRAPH)


def test_one_class(data):
    with pytest.raises(ValueError, match="y holds 1 class"):
        GNNClassifier(**QUICK).fit(data[0], np.zeros(120), graph=GRAPH)
    weight = np.r_[np.ones(60), np.zeros(60)]
    with pytest.raises(ValueError, match=r"1 class.* among the rows of positive weight"):
        GNNClassifier(**QUICK).fit(data[0], 1 - weight, graph=GRAPH, sample_weight=weight)
    with pytest.raises(ValueError, match="at least 2 rows of positive weight"):
        GNNRegressor(**QUICK).fit(*data, graph=GRAPH, sample_weight=np.eye(120)[0])


def test_loss_that_is_not_finite(data, monkeypatch):
    """One new start at a third of the rate, then an error that names the bag; an earlier fit stays."""
    X, y = data
    model = GNNRegressor(encoder="gcn", **QUICK).fit(X, y, graph=GRAPH)
    before = model.predict(X)
    rates = []
    original = encoder_training.train_module

    def failing(module, rows, loss, options, **rest):
        rates.append(options.learning_rate)
        if len(rates) in failures:
            raise FloatingPointError("training diverged in epoch 3: the loss is nan.")
        return original(module, rows, loss, options, **rest)

    monkeypatch.setattr(encoder_training, "train_module", failing)
    failures = {2, 3}
    with pytest.raises(FloatingPointError, match=r"bag 1, again after a new start at a third.*epoch 3"):
        model.fit(X, 100 - y, graph=GRAPH)
    assert rates[1:] == [0.003, pytest.approx(0.001)]
    assert np.array_equal(model.predict(X), before)
    rates.clear()
    failures = {1}
    model.fit(X, y, graph=GRAPH)
    assert len(rates) == 3 and np.isfinite(model.predict(X)).all()


def test_missing_packages_and_devices(data, monkeypatch):
    X, y = data
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailableError, match="is not available"):
        GNNRegressor(**{**QUICK, "device": "cuda"}).fit(X, y, graph=GRAPH)
    monkeypatch.setitem(sys.modules, "causalkit.graph.neural", None)
    monkeypatch.delattr(sys.modules["causalkit.graph"], "neural")
    with pytest.raises(MissingDependencyError, match=r"'\.\[graph\].*encoder='sign'"):
        GNNRegressor(encoder="sage", **QUICK).fit(X, y, graph=GRAPH)
    GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"'\.\[torch\]"):
        GNNRegressor(**QUICK).fit(X, y, graph=GRAPH)
