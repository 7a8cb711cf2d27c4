"""Files that come back the same in another process, and files that are refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import causalkit
from causalkit.crossfit import CrossFitResult, CrossFitter
from causalkit.exceptions import PersistenceError
from causalkit.inference import InferenceResult
from causalkit.linear import LinearFit, weighted_least_squares
from causalkit.persistence import FORMAT_VERSION, load, read_manifest, save
from causalkit.validation import Groups


def holder(content):
    """A causalkit record that carries any content."""
    return CrossFitResult(predictions={"content": content}, folds=np.zeros((1, 1), int))


def round_trip(content, tmp_path):
    path = tmp_path / "file.causalkit"
    save(holder(content), path)
    return load(path).predictions["content"]


def small_result():
    rng = np.random.default_rng(0)
    groups = Groups(np.repeat(np.arange(4), 2), np.arange(4))
    return InferenceResult.from_influence([1.5, -2.0], rng.normal(size=(8, 2)), names=["a", "b"], groups=groups)


def assert_same_result(first, second):
    np.testing.assert_array_equal(first.estimate, second.estimate)
    np.testing.assert_array_equal(first.cov, second.cov)
    np.testing.assert_array_equal(first.influence_values, second.influence_values)
    np.testing.assert_array_equal(first.groups, second.groups)
    assert (first.names, first.n_obs, first.df, first.dependence) == (
        second.names,
        second.n_obs,
        second.df,
        second.dependence,
    )


def rewrite(path, change=lambda manifest: None, *, extra=(), compress=zipfile.ZIP_STORED, arrays=None):
    """What somebody who knows the format could make of a file: every digest is computed anew."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    members.pop("manifest.sha256")
    members.update(arrays or {})
    for name, entry in manifest["members"].items():
        entry["sha256"] = hashlib.sha256(members[name]).hexdigest()
    change(manifest)
    text = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in [*members.items(), *extra]:
            archive.writestr(name, data)
        archive.writestr("manifest.json", text)
        archive.writestr("manifest.sha256", hashlib.sha256(text).hexdigest())


# ---------------------------------------------------------------------- what comes back


def test_result_is_the_same_in_another_process(tmp_path):
    result = small_result()
    path = tmp_path / "result.causalkit"
    save(result, path)
    code = (
        "import sys, json\nfrom causalkit import load\nr = load(sys.argv[1])\n"
        "t = r - 1\nprint(json.dumps([type(r).__name__, r.to_dict(), r.influence_values.tolist(), "
        "r.conf_int().to_numpy().tolist(), (r + t).cov.tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    kind, numbers, influence, interval, added = json.loads(done.stdout)
    assert kind == "InferenceResult"
    assert numbers == result.to_dict()
    assert influence == result.influence_values.tolist()
    assert interval == result.conf_int().to_numpy().tolist()
    assert added == (result + (result - 1)).cov.tolist()


def test_models_inside_predict_the_same_in_another_process(tmp_path):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    models = [
        make_pipeline(StandardScaler(), RidgeCV(alphas=[0.1, 1.0])).fit(X, y),
        LogisticRegression().fit(X, np.where(y > 0, "up", "down")),
        ColumnTransformer([("scale", StandardScaler(), [0, 1])], remainder="passthrough").fit(X),
    ]
    save(holder(models), tmp_path / "models")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np\nfrom causalkit import load\n"
        "a, b, c = load(sys.argv[1] + '/models').predictions['content']\nX = np.load(sys.argv[1] + '/X.npy')\n"
        "np.savez(sys.argv[1] + '/out.npz', a=a.predict(X), b=b.predict(X), p=b.predict_proba(X), c=c.transform(X))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(out["a"], models[0].predict(X))
        np.testing.assert_array_equal(out["b"], models[1].predict(X))
        np.testing.assert_array_equal(out["p"], models[1].predict_proba(X))
        np.testing.assert_array_equal(out["c"], models[2].transform(X))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**40),
        1.5,
        -0.0,
        float("inf"),
        float("-inf"),
        2.0 - 3.0j,
        "é\n\ud800",
        b"\x00\xff",
        (1, (2.0, "x"), []),
        {"a": 1, 2: "b", (1, 2): None, None: {"deep": [1]}},
        {1, 2, 3},
        frozenset({"x"}),
        slice(1, None, 2),
        range(3, 9, 2),
        np.dtype("float32"),
        np.int8,
        np.str_(""),
    ],
)
def test_plain_values(value, tmp_path):
    again = round_trip(value, tmp_path)
    assert again == value
    assert type(again) is type(value)
    assert repr(again) == repr(value)


def test_not_a_number(tmp_path):
    assert np.isnan(round_trip(float("nan"), tmp_path))


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.float32(0.1),
        np.int16(-3),
        np.bool_(True),
        np.str_("été"),
        np.complex64(1j),
        np.longdouble("0.1"),
        np.datetime64("2020-02-29T12:00:01", "ns"),
        np.timedelta64(5, "D"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_numpy_scalars(value, tmp_path):
    again = round_trip(value, tmp_path)
    assert again == value
    assert type(again) is type(value)
    assert again.dtype == value.dtype


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24).reshape(2, 3, 4)[:, ::-1, ::2],
        np.array(3.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array(["a", "longer", "é"]),
        np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype=">i4"),
        np.array([np.nan, -np.inf]),
        np.array([["a", None], [1.5, 3]], dtype=object),
    ],
    ids=lambda a: f"{a.dtype}-{a.shape}",
)
def test_arrays(array, tmp_path):
    again = round_trip(array, tmp_path)
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype
    assert again.flags.writeable


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_memory_order_is_kept(axes, tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).transpose(axes)
    again = round_trip(array, tmp_path)
    np.testing.assert_array_equal(again, array)
    assert again.strides == array.strides


def test_read_only_and_masked_arrays(tmp_path):
    locked = np.arange(3.0)
    locked.flags.writeable = False
    assert not round_trip(locked, tmp_path).flags.writeable
    masked = np.ma.MaskedArray([1.0, 2.0], mask=[False, True])
    again = round_trip(masked, tmp_path)
    np.testing.assert_array_equal(again.mask, masked.mask)
    assert again.sum() == 1.0


def _frames():
    frame = pd.DataFrame(
        {
            "x": [1.5, np.nan],
            "n": [1, 2],
            "text": ["a", None],
            "object": pd.Series(["u", 3], dtype=object),
            "kind": pd.Categorical(["p", "q"], categories=["q", "p"], ordered=True),
            "maybe": pd.array([1, None], dtype="Int64"),
            "when": pd.to_datetime(["2020-01-01", "2021-06-01"]),
        },
        index=pd.Index(["r", "s"], name="row"),
    )
    frame.attrs["i_squared"] = 0.25
    two_levels = pd.MultiIndex.from_product([["north", "south"], [1, 2]], names=["side", None])
    doubled = pd.DataFrame(np.eye(2), columns=["same", "same"])
    return {
        "frame": frame,
        "multi": pd.DataFrame({"v": range(4)}, index=two_levels),
        "doubled": doubled,
        "empty": pd.DataFrame(index=pd.RangeIndex(3)),
    }


@pytest.mark.parametrize("name", list(_frames()))
def test_frames(name, tmp_path):
    frame = _frames()[name]
    again = round_trip(frame, tmp_path)
    pd.testing.assert_frame_equal(again, frame)
    assert again.attrs == frame.attrs


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1.0, 2.0], index=[5, 3], name="s"),
        pd.Series(["a", "b"], dtype="string"),
        pd.Series(["a", "b"], dtype=object),
        pd.Series([], dtype=float),
    ],
)
def test_series(values, tmp_path):
    pd.testing.assert_series_equal(round_trip(values, tmp_path), values)


@pytest.mark.parametrize(
    "index",
    [pd.RangeIndex(2, 9, 3, name="i"), pd.Index([1.5, 2.5]), pd.DatetimeIndex(["2020-01-01", "2020-03-05"], name="t")],
)
def test_indexes(index, tmp_path):
    pd.testing.assert_index_equal(round_trip(index, tmp_path), index)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.csc_matrix])
@pytest.mark.parametrize("shape", [(3, 5), (4, 0)])
def test_sparse_matrices(make, shape, tmp_path):
    dense = np.random.default_rng(0).integers(0, 2, size=shape).astype(np.float32)
    again = round_trip(make(dense), tmp_path)
    assert type(again) is make and again.dtype == np.float32
    np.testing.assert_array_equal(again.toarray(), dense)


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([0, 7])},
        {"indices": np.array([0, -1])},
        {"indptr": np.array([0, 1, 9])},
        {"indptr": np.array([0, 2, 1])},
        {"data": np.ones(1)},
        {"data": np.ones((2, 1))},
    ],
)
def test_sparse_matrices_that_read_beyond_their_ends_are_refused(change, tmp_path):
    """As in a file that somebody edited with every digest computed anew."""
    matrix = sparse.csr_array((np.ones(2), np.array([0, 2]), np.array([0, 1, 2])), shape=(2, 3))
    save(holder(matrix), tmp_path / "sound")
    np.testing.assert_array_equal(load(tmp_path / "sound").predictions["content"].toarray(), [[1, 0, 0], [0, 0, 1]])
    for name, array in change.items():
        vars(matrix)[name] = array
    save(holder(matrix), tmp_path / "f")
    with pytest.raises(PersistenceError):
        load(tmp_path / "f")


def test_identity_is_kept_and_stored_once(tmp_path):
    array = np.arange(1000.0)
    token = object()
    result = InferenceResult(estimate=[1.0], cov=[[1.0]], names=("a",), n_obs=2, sample=token)
    other = InferenceResult(estimate=[2.0], cov=[[1.0]], names=("b",), n_obs=2, sample=token)
    loop: list = [array, array]
    loop.append(loop)
    again, first, second = round_trip([loop, result, other], tmp_path)
    assert again[0] is again[1]
    assert again[2] is again
    assert first.sample is second.sample
    assert first.sample is not token
    assert (tmp_path / "file.causalkit").stat().st_size < 2 * array.nbytes


def test_records_of_the_package(tmp_path):
    rng = np.random.default_rng(0)
    fit = weighted_least_squares(rng.normal(size=(9, 2)), rng.normal(size=9))
    again = round_trip(fit, tmp_path)
    assert isinstance(again, LinearFit)
    np.testing.assert_array_equal(again.covariance("HC3"), fit.covariance("HC3"))
    fitter = round_trip(CrossFitter(cv=KFold(3, shuffle=True, random_state=1), random_state=5), tmp_path)
    assert isinstance(fitter, CrossFitter)
    assert repr(fitter) == repr(CrossFitter(cv=KFold(3, shuffle=True, random_state=1), random_state=5))


def test_running_totals_go_on_after_loading(tmp_path):
    from causalkit import EffectAccumulator, LinearCalibration

    rng = np.random.default_rng(0)
    predictions, treatment = rng.normal(size=80), np.arange(80) % 2
    stream = EffectAccumulator(LinearCalibration.from_coefficients(0.5)).update(predictions[:40], treatment[:40])
    save(stream, tmp_path / "stream")
    again = load(tmp_path / "stream").update(predictions[40:], treatment[40:]).result()
    whole = stream.update(predictions[40:], treatment[40:]).result()
    np.testing.assert_array_equal(again.estimate, whole.estimate)
    np.testing.assert_array_equal(again.cov, whole.cov)


def test_configured_scikit_learn_models(tmp_path):
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        model = StandardScaler().set_fit_request(sample_weight=True).set_output(transform="pandas")
        again = round_trip(model, tmp_path)
        assert again.get_metadata_routing().fit.requests == {"sample_weight": True}
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    pd.testing.assert_frame_equal(again.fit_transform(frame), model.fit_transform(frame))
    assert round_trip(OneHotEncoder(dtype=np.float32), tmp_path).dtype is np.float32


def test_equal_objects_give_equal_files(tmp_path):
    save(small_result(), tmp_path / "a")
    save(small_result(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_structure_is_readable_without_building(tmp_path):
    save(holder(make_pipeline(StandardScaler(), LinearRegression())), tmp_path / "f")
    manifest = read_manifest(tmp_path / "f")
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["versions"]["causalkit"] == causalkit.__version__
    assert "sklearn.preprocessing._data:StandardScaler" in manifest["classes"]
    assert manifest["object"]["class"] == "causalkit.crossfit:CrossFitResult"


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result"
    save(small_result(), path)
    before = path.read_bytes()

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(small_result() + 1, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


# ---------------------------------------------------------------------- what cannot be saved


class OfTheUser(DummyRegressor):
    """A subclass that lives outside both packages."""


def _unsavable():
    X = np.random.default_rng(0).normal(size=(20, 2))
    forest = RandomForestRegressor(1, random_state=0).fit(X, X[:, 0])
    network = MLPRegressor((2,), max_iter=1, random_state=0)
    network._random_state = np.random.RandomState(0)
    timezone = pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("UTC"))
    deep: list = []
    for _ in range(500):
        deep = [deep]
    return {
        "lambda": (lambda x: x, r"\['content'\] is a callable .* code is never stored"),
        "function": (FunctionTransformer(np.log), r"\.func is a callable"),
        "class": (LinearRegression, "is a callable"),
        "generator": (np.random.default_rng(0), "a random number generator .* use an integer seed"),
        "random state": (network, r"\._random_state is a random number generator"),
        "tree": (forest, r"estimators_\[0\]\.tree_ is a compiled or internal part"),
        "user class": (OfTheUser(), "OfTheUser, which is not part of causalkit"),
        "object array": (np.array([{}], dtype=object), r"object array that holds a dict \(entry 0\)"),
        "record array": (np.zeros(2, dtype=[("a", "f8")]), "expected numbers, bools"),
        "subclass": (np.zeros(1).view(np.recarray), "is a recarray: expected a plain array"),
        "time zone": (timezone, r"pandas type datetime64\[.*UTC\]"),
        "huge integer": (1 << 20_000, "integer of 20001 bits"),
        "deep": (deep, "nested more than"),
        "sparse format": (sparse.coo_array(np.eye(2)), r"sparse matrix .* use \.tocsr\(\) before saving"),
        "file": (sys.stdout, "which is not part of causalkit"),
    }


@pytest.mark.parametrize("name", list(_unsavable()))
def test_unsavable_content_is_named(name, tmp_path):
    value, words = _unsavable()[name]
    with pytest.raises(PersistenceError, match=words):
        save(holder(value), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_torch_modules_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    for value in (torch.nn.Linear(2, 1), torch.zeros(2)):
        with pytest.raises(PersistenceError, match=r"a torch object .* safetensors"):
            save(holder(value), tmp_path / "f")


# ---------------------------------------------------------------------- damaged files


def test_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all" * 50, pickle.dumps([1, 2])])
def test_other_files_are_refused(data, tmp_path):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(PersistenceError, match="not a causalkit file"):
        load(tmp_path / "f")


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(PersistenceError):
            load(path)


def test_a_changed_byte_is_refused_or_harmless(tmp_path):
    path = tmp_path / "f"
    result = small_result()
    save(result, path)
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    # The directory at the end is where a change could mislead: every byte of it, and a sample of the rest.
    positions = np.r_[rng.choice(len(data), 500, replace=False), np.arange(len(data) - 700, len(data))]
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            again = load(path)
        except PersistenceError:
            refused += 1
        else:
            assert_same_result(again, result)
    assert refused > 0.7 * len(positions)


def test_changes_by_hand_are_refused(tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def write(**changes):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**members, **changes}.items():
                if content is not None:
                    archive.writestr(name, content)

    write()
    assert_same_result(load(path), small_result())
    write(**{"manifest.json": members["manifest.json"].replace(b'"n_obs": 8', b'"n_obs": 9')})
    with pytest.raises(PersistenceError, match=r"manifest.json does not match its digest"):
        load(path)
    array = bytearray(members["arrays/000000.npy"])
    array[-1] ^= 1
    write(**{"arrays/000000.npy": bytes(array)})
    with pytest.raises(PersistenceError, match=r"arrays/000000.npy does not match its digest"):
        load(path)
    for gone in ("manifest.json", "manifest.sha256", "arrays/000001.npy"):
        write(**{gone: None})
        with pytest.raises(PersistenceError):
            load(path)


# ---------------------------------------------------------------------- malicious files


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        "posix:system",
        "causalkit.os:system",
        "causalkit.persistence:os",
        "causalkit.persistence:_ArrayReader",
        "causalkit.persistence:load",
        "causalkit.exceptions:PersistenceError",
        "causalkit.demo:main",
        "causalkit.nowhere:Thing",
        "sklearn.base:clone",
        "sklearn.base:warnings",
        "sklearn.utils:Bunch",
        "sklearn.linear_model:LinearRegression",
        "sklearn.tests.test_base:MyEstimator",
        "sklearn.externals._packaging.version:Version",
        "sklearn..base:BaseEstimator",
        "sklearn.base:BaseEstimator.get_params",
        "causalkit",
        "",
        7,
        ["os", "system"],
    ],
)
def test_classes_outside_the_two_packages_are_refused(name, tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(path, lambda manifest: manifest["object"].update({"class": name}))
    with pytest.raises(PersistenceError, match="the file names the class"):
        load(path)


def test_nothing_is_imported_or_run_for_a_refused_class(tmp_path):
    """A module on the import path that would leave a mark if it were imported, and a call that would leave one."""
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\nclass Evil:\n    pass\n")
    path = tmp_path / "f"
    save(small_result(), path)
    for name, state in (("evil:Evil", {}), ("os:system", {"command": "touch imported"})):
        rewrite(path, lambda manifest, n=name, s=state: manifest["object"].update({"class": n, "state": s}))
        code = (
            "import sys\nfrom causalkit import load\nfrom causalkit.exceptions import PersistenceError\n"
            "try:\n    load('f')\nexcept PersistenceError:\n    print('refused', 'evil' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert done.stdout.split() == ["refused", "False"]
        assert not (tmp_path / "imported").exists()


def test_no_constructor_or_setter_runs(tmp_path, monkeypatch):
    path = tmp_path / "f"
    save(small_result(), path)

    def called(*_args, **_kwargs):
        raise AssertionError("code of the class was run")

    result = small_result()
    for method in ("__init__", "__post_init__", "__setattr__", "__setstate__"):
        monkeypatch.setattr(InferenceResult, method, called, raising=False)
    with pytest.raises(AssertionError, match="code of the class was run"):
        InferenceResult(estimate=[1.0], cov=[[1.0]], names=("a",), n_obs=1)
    assert_same_result(load(path), result)


def _state_key(key):
    return lambda manifest: manifest["object"]["state"].update({key: 1})


def _estimate(node):
    return lambda manifest: manifest["object"]["state"].update({"estimate": node})


@pytest.mark.parametrize(
    "change",
    [
        _state_key("__class__"),
        _state_key("__dict__"),
        _state_key("not a name"),
        _estimate({"type": "pickle", "data": "gASVAAAA"}),
        _estimate({"type": "ref", "id": 10_000}),
        _estimate({"type": ["list"]}),
        _estimate({"type": "list", "items": [1, 2]}),
        _estimate({"type": "array", "number": 99, "writeable": True}),
        _estimate({"type": "array", "number": "../../etc/passwd", "writeable": True}),
        _estimate({"type": "dtype", "dtype": "O"}),
        _estimate({"type": "dtype", "dtype": "f8,f8"}),
        _estimate({"type": "numpy_scalar", "dtype": "|O8", "hex": "00" * 8}),
        _estimate({"type": "float", "value": "__import__('os')"}),
        _estimate({"type": "object_array", "id": 900, "shape": [10**12], "items": [1]}),
        _estimate({"type": "extension", "id": 900, "dtype": "object", "items": [1]}),
        _estimate([1, 2]),
        lambda manifest: manifest.update(object=None, members=[]),
        lambda manifest: manifest.pop("object"),
        lambda manifest: manifest.pop("versions"),
        lambda manifest: manifest.update(format="other"),
        lambda manifest: manifest.update(format_version="1"),
        lambda manifest: manifest["members"].pop("arrays/000000.npy"),
        lambda manifest: manifest["members"]["arrays/000000.npy"].update(shape=[10**15]),
        lambda manifest: manifest["members"]["arrays/000000.npy"].update(dtype="|O8"),
    ],
)
def test_manifests_off_the_format_are_refused(change, tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(path, change)
    with pytest.raises(PersistenceError):
        load(path)


def test_deep_manifest_is_refused(tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    with zipfile.ZipFile(path) as archive:
        arrays = [(n, archive.read(n)) for n in archive.namelist() if n.startswith("arrays/")]
        manifest = archive.read("manifest.json").decode()
    deep = '{"type": "tuple", "items": [' * 5000 + "]}" * 5000
    text = manifest.replace('"n_obs": 8', f'"n_obs": {deep}').encode()
    assert len(text) > 5000
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*arrays, ("manifest.json", text), ("manifest.sha256", hashlib.sha256(text).hexdigest())]:
            archive.writestr(name, data)
    with pytest.raises(PersistenceError):
        load(path)


def test_a_scalar_is_not_spread_over_a_declared_index(tmp_path):
    path = tmp_path / "f"
    save(holder(pd.Series([1.0])), path)

    def change(manifest):
        series = manifest["object"]["state"]["predictions"]["items"][0][1]
        series["index"]["bounds"] = [0, 10**13, 1]
        series["values"] = 1.0

    rewrite(path, change)
    with pytest.raises(PersistenceError):
        load(path)


def _npy(header):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }",
    ],
)
def test_array_headers_are_not_believed(header, tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)

    def agree(manifest):  # the manifest tells the same lie where it can
        entry = manifest["members"]["arrays/000000.npy"]
        entry.update(dtype="|O" if "|O" in header else "<f8", shape=[10**12] if "1000000" in header else [2])

    rewrite(path, agree, arrays={"arrays/000000.npy": _npy(header)})
    with pytest.raises(PersistenceError):
        load(path)


def test_pickled_array_is_not_read(tmp_path):
    import io

    class Mark:
        def __reduce__(self):
            return (open, (str(tmp_path / "mark"), "w"))

    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([Mark()], dtype=object), allow_pickle=True)
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(
        path,
        lambda manifest: manifest["members"]["arrays/000000.npy"].update(dtype="|O", shape=[1]),
        arrays={"arrays/000000.npy": stream.getvalue()},
    )
    with pytest.raises(PersistenceError):
        load(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["../escape.npy", "/etc/passwd", "arrays/../../x.npy", "arrays/1.npy", "evil.py"])
def test_members_off_the_format_are_refused(name, tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(path, extra=[(name, b"x")])
    with pytest.raises(PersistenceError, match="members that do not belong"):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_and_compressed_members_are_refused(tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(path, extra=[("manifest.json", b"{}")])
    with pytest.raises(PersistenceError, match="members that do not belong"):
        load(path)
    save(small_result(), path)
    rewrite(path, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(PersistenceError, match="is compressed"):
        load(path)


# ---------------------------------------------------------------------- versions


def test_newer_format_is_refused(tmp_path):
    path = tmp_path / "f"
    save(small_result(), path)
    rewrite(path, lambda manifest: manifest.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(PersistenceError, match="upgrade causalkit"):
        load(path)


def test_other_scikit_learn_version_warns(tmp_path, recwarn):
    path = tmp_path / "f"
    save(holder(StandardScaler()), path)
    load(path)
    assert len(recwarn) == 0
    rewrite(path, lambda manifest: manifest["versions"].update({"scikit-learn": "0.99"}))
    with pytest.warns(InconsistentVersionWarning, match=r"StandardScaler from version 0\.99"):
        load(path)
