"""Pairs and reward functions in trl's own trainers: a few steps of a tiny model that is built here, no downloads."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.pairs import make_preference_pairs
from causalkit.rewards.reward_function import as_reward_function
from causalkit.selection import pairwise_accuracy

REASON = "needs the trl extra: pip install -e '.[trl]'"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
datasets = pytest.importorskip("datasets", reason=REASON)
tokenizers = pytest.importorskip("tokenizers", reason=REASON)
trl = pytest.importorskip("trl", reason=REASON)

WORDS = ("good", "bad", "news", "today", "free", "read", "now", "we")
WORTH = np.array([2.0, -2.0, 0.0, 0.0, 0.5, 0.0, -0.5, 0.0])
# They end with a space, so that a prompt and a completion put together are the words of both.
PROMPTS = ("write : ", "post : ", "say : ")


def count_words(texts: list[str]) -> Any:
    return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=float)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    transformers.set_seed(0)


@pytest.fixture
def tokenizer() -> Any:
    """One token per word."""
    special = ["<pad>", "<end>", "<unknown>"]
    words = [*special, *WORDS, *{word for prompt in PROMPTS for word in prompt.split()}]
    model = tokenizers.models.WordLevel({word: k for k, word in enumerate(sorted(words))}, unk_token="<unknown>")
    fast = tokenizers.Tokenizer(model)
    fast.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>", padding_side="left"
    )


def tiny_config(tokenizer: Any, **changes: Any) -> Any:
    return transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **changes,
    )


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    """Texts of two to six words with prompts; "bad" ones were written by the author who sells most."""
    rng = np.random.default_rng(0)
    n = 240
    author = rng.integers(0, 2, n)
    texts = []
    for k in range(n):
        weights = np.ones(len(WORDS))
        weights[1 if author[k] else 0] = 4.0
        texts.append(" ".join(rng.choice(WORDS, rng.integers(2, 7), p=weights / weights.sum())))
    y = count_words(texts) @ WORTH + 8.0 * author + 0.3 * rng.normal(size=n)
    fit = RewardDeconfounder(method="fixed_effects", encoder=count_words)
    fit.fit(texts, y, confounders={"author": author.astype(str)})
    prompts = [PROMPTS[k % 3] for k in range(n)]
    return {"texts": texts, "prompts": prompts, "fit": fit, "rewards": fit.adjusted_reward_, "outcomes": y}


def arguments(kind: Any, path: Path, **changes: Any) -> Any:
    common = {
        "output_dir": str(path),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "lr_scheduler_type": "constant",
        "seed": 0,
    }
    return kind(**{**common, **changes})


def preference_rows(log: dict[str, Any], min_gap: float) -> tuple[Any, Any]:
    frame = make_preference_pairs(
        log["rewards"],
        prompts=log["prompts"],
        texts=log["texts"],
        min_gap=min_gap,
        max_pairs_per_prompt=120,
        random_state=0,
    )
    return frame, datasets.Dataset.from_pandas(frame)


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_reward_trainer_learns_the_adjusted_reward(tmp_path: Path, tokenizer: Any, log: dict[str, Any]) -> None:
    """Its loss takes the margins, and its model comes to rank by worth, which the raw outcomes do not."""
    frame, rows = preference_rows(log, min_gap=0.2)
    model = transformers.LlamaForSequenceClassification(tiny_config(tokenizer, num_labels=1))
    options = {"max_steps": 40, "per_device_train_batch_size": 32, "learning_rate": 1e-2, "max_length": 32}
    trainer = trl.RewardTrainer(
        model=model,
        args=arguments(trl.RewardConfig, tmp_path, **options),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    margin = batch["margin"].numpy()
    assert set(np.round(margin, 3)) <= set(np.round(frame["margin"].to_numpy(dtype=np.float32), 3))
    with torch.inference_mode():
        outputs = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0].numpy()
        loss = trainer.compute_loss(model, batch).item()
    chosen, rejected = outputs[: len(margin)], outputs[len(margin) :]
    assert loss == pytest.approx(np.logaddexp(0.0, -(chosen - rejected - margin)).mean(), abs=1e-5)

    trainer.train()
    model.eval()
    with torch.inference_mode():
        ids = tokenizer([f"{PROMPTS[0]}{text} <end>" for text in log["texts"]], return_tensors="pt", padding=True)
        scores = model(ids["input_ids"], attention_mask=ids["attention_mask"]).logits[:, 0].numpy()
    worth = count_words(log["texts"]) @ WORTH
    assert pairwise_accuracy(worth, log["outcomes"]) < 0.7
    assert pairwise_accuracy(worth, scores) > 0.85


def test_policy_trainer_takes_the_reward_function(tmp_path: Path, tokenizer: Any, log: dict[str, Any]) -> None:
    """GRPO: the function is called by the trainer's contract, its name and its share out of support are logged."""
    reward = as_reward_function(log["fit"], conservative=0.5, out_of_support="clip")
    options = {"max_steps": 15, "per_device_train_batch_size": 16, "learning_rate": 2e-2}
    prompts = [PROMPTS[k % 3] for k in range(24)]
    trainer = trl.GRPOTrainer(
        model=transformers.LlamaForCausalLM(tiny_config(tokenizer)),
        reward_funcs=reward,
        args=arguments(trl.GRPOConfig, tmp_path, num_generations=8, max_completion_length=4, **options),
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts, "author": ["a"] * 24}),
        processing_class=tokenizer,
    )
    trainer.train()
    means = logged(trainer, "rewards/deconfounded_reward/mean")
    assert len(means) == 15
    assert np.isfinite(means).all()
    # Four good words are worth 8 more than none.
    assert np.mean(means[-3:]) > np.mean(means[:3]) + 2.0
    shares = logged(trainer, "deconfounded_reward/out_of_support")
    assert len(shares) == 15
    assert all(0 <= share <= 1 for share in shares)


def test_preference_trainer_takes_the_pairs(tmp_path: Path, tokenizer: Any, log: dict[str, Any]) -> None:
    """DPO has no use for margins: pairs with clear gaps are picked by min_gap. It starts from its reference at ln 2."""
    _, rows = preference_rows(log, min_gap=0.5)
    model = transformers.LlamaForCausalLM(tiny_config(tokenizer))
    options = {"max_steps": 20, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "max_length": 32}
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=arguments(trl.DPOConfig, tmp_path, **options),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train()
    losses = logged(trainer, "loss")
    assert losses[0] == pytest.approx(np.log(2.0), abs=1e-6)
    assert np.mean(losses[-5:]) < 0.55
    assert np.mean(logged(trainer, "rewards/accuracies")[-5:]) > 0.75
