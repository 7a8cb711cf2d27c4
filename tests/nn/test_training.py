"""The training loop: what it minimises, when it stops, which weights it keeps, that it repeats."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from causalkit.nn import TrainingOptions, make_mlp, torch_generator, train_module, validation_split

torch = pytest.importorskip("torch")


def _options(**changes):
    values = {"max_epochs": 5, "batch_size": 4, "learning_rate": 0.01, "weight_decay": 0.0, "patience": 3}
    return TrainingOptions.checked(**{**values, **changes})


def _line(seed=0):
    return make_mlp((2, 1), torch_generator(seed))


def _zero_loss(module, batch, generator):
    return 0.0 * sum(p.sum() for p in module.parameters()) + 1.0


def _regression_loss(n=40):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 2)), rng.standard_normal(n)
    features, targets = (torch.as_tensor(v, dtype=torch.float32) for v in (X, y))

    def loss(module, batch, generator):
        return ((targets[batch] - module(features[batch])[:, 0]) ** 2).mean()

    return X, y, loss


def test_least_squares_is_reached():
    X, y, loss = _regression_loss()
    module = _line()
    options = _options(max_epochs=2000, batch_size=40, learning_rate=0.02, patience=50)
    record = train_module(module, torch.arange(40), loss, options, seed=0)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(40)]), y, rcond=None)
    got = np.append(module[0].weight.detach().numpy(), module[0].bias.detach().numpy())
    np.testing.assert_allclose(got, expected[0], atol=2e-3)
    assert record.converged
    assert record.loss_curve[-1] == pytest.approx(expected[1][0] / 40, rel=1e-4)
    assert record.best_epoch == len(record.loss_curve) - 1
    assert record.validation_curve.shape == (0,)


def test_weight_decay_shrinks_weights():
    """With a loss without gradient AdamW multiplies the weights by (1 - rate·decay) in each step."""
    module = _line()
    before = module[0].weight.detach().clone()
    train_module(
        module, torch.arange(4), _zero_loss, _options(max_epochs=3, learning_rate=0.1, weight_decay=0.5), seed=0
    )
    torch.testing.assert_close(module[0].weight.detach(), before * 0.95**3)


def test_each_epoch_visits_each_row_once_in_even_batches():
    seen: list[list[int]] = []

    def loss(module, batch, generator):
        seen.append(batch.tolist())
        return _zero_loss(module, batch, generator)

    rows = torch.tensor([3, 5, 6, 7, 9, 11, 12, 20, 31])
    train_module(_line(), rows, loss, _options(max_epochs=2), seed=0)
    assert [len(batch) for batch in seen] == [3, 3, 3] * 2
    epochs = [[row for batch in half for row in batch] for half in (seen[:3], seen[3:])]
    assert all(sorted(epoch) == rows.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("with_validation", [True, False])
def test_a_seed_repeats_exactly(with_validation):
    _, _, loss = _regression_loss()
    results = []
    for seed in (1, 1, 2):
        module = _line()
        validation = (lambda m: float(loss(m, torch.arange(30, 40), None))) if with_validation else None
        before = torch.get_rng_state()
        train_module(module, torch.arange(30), loss, _options(), seed=seed, validation_loss=validation)
        assert torch.equal(before, torch.get_rng_state())
        results.append(module[0].weight.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_epoch_generator_is_new_in_every_epoch_and_seeded():
    draws: list[list[float]] = []
    for _ in range(2):
        values: list[float] = []

        def loss(module, batch, generator, values=values):
            values.append(float(torch.rand(1, generator=generator)))
            return _zero_loss(module, batch, generator)

        train_module(_line(), torch.arange(8), loss, _options(max_epochs=3), seed=4)
        draws.append(values)
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 6


def _scripted(values):
    """A validation loss that follows a script, and the weights that it saw."""
    seen: list[dict[str, torch.Tensor]] = []

    def validation(module):
        assert not module.training
        assert not torch.is_grad_enabled()
        seen.append(copy.deepcopy(module.state_dict()))
        return values[len(seen) - 1]

    return validation, seen


def test_best_weights_come_back_after_patience():
    _, _, loss = _regression_loss()
    module = _line()
    validation, seen = _scripted([5.0, 3.0, 4.0, 2.0, 2.5, 2.4, 2.3, 0.0])
    record = train_module(module, torch.arange(40), loss, _options(max_epochs=8), seed=0, validation_loss=validation)
    assert record.validation_curve.tolist() == [5.0, 3.0, 4.0, 2.0, 2.5, 2.4, 2.3]
    assert (record.best_epoch, record.converged) == (3, True)
    assert torch.equal(module[0].weight, seen[3]["0.weight"])
    assert not torch.equal(seen[3]["0.weight"], seen[6]["0.weight"])


def test_tiny_improvements_are_kept_but_do_not_extend_patience():
    validation, _ = _scripted([1.0, 0.99999, 0.99998, 0.99997, 0.5])
    record = train_module(_line(), torch.arange(8), _zero_loss, _options(), seed=0, validation_loss=validation)
    assert (len(record.validation_curve), record.best_epoch, record.converged) == (4, 3, True)


def test_negative_losses_can_improve():
    validation, _ = _scripted([0.1, -0.1, -0.2, -0.3, -0.4])
    record = train_module(_line(), torch.arange(8), _zero_loss, _options(), seed=0, validation_loss=validation)
    assert (record.best_epoch, record.converged) == (4, False)


@pytest.mark.parametrize(("falls", "epochs", "converged"), [(0.0, 6, True), (0.01, 20, False)])
def test_flat_training_loss_stops(falls, epochs, converged):
    """Constant: stops once two windows of three epochs exist. Falling by 1 % of the start: runs to the end."""
    epoch_of = {"now": 0}

    def loss(module, batch, generator):
        return _zero_loss(module, batch, generator) * (1 - falls * epoch_of["now"])

    record = train_module(
        _line(), torch.arange(8), loss, _options(max_epochs=20), seed=0, start_epoch=lambda e: epoch_of.update(now=e)
    )
    assert (len(record.loss_curve), record.converged) == (epochs, converged)
    np.testing.assert_allclose(record.loss_curve, 1 - falls * np.arange(epochs), rtol=1e-6)


def test_divergence_is_a_named_error():
    def loss(module, batch, generator):
        return _zero_loss(module, batch, generator) * float("nan")

    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1: the loss is nan\. Lower learning_rate"):
        train_module(_line(), torch.arange(8), loss, _options(), seed=0)


def test_progress_goes_to_the_error_stream_on_request(capsys):
    train_module(_line(), torch.arange(8), _zero_loss, _options(max_epochs=2), seed=0)
    assert capsys.readouterr() == ("", "")
    train_module(_line(), torch.arange(8), _zero_loss, _options(max_epochs=2), seed=0, verbose=1, label="net")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("\rnet [############............] 1/2 loss 1")
    assert err.endswith("\n")


def test_an_interrupt_passes_through_and_ends_the_line(capsys):
    def start(epoch):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_module(_line(), torch.arange(8), _zero_loss, _options(), seed=0, start_epoch=start, verbose=1)
    assert capsys.readouterr().err.endswith("\n")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_epochs", 0, "max_epochs must be an integer at least 1; got 0"),
        ("batch_size", 2.5, "batch_size must be an integer at least 1; got 2.5"),
        ("learning_rate", 0.0, "learning_rate must be a finite number above 0; got 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0"),
        ("weight_decay", -1, "weight_decay must be a finite number of at least 0; got -1"),
        ("patience", True, "patience must be an integer at least 1; got True"),
    ],
)
def test_bad_options_are_refused(name, value, words):
    with pytest.raises(ValueError, match=words):
        _options(**{name: value})


# ---------------------------------------------------------------------- validation rows


@pytest.mark.parametrize(
    ("n", "fraction"), [(2, 0.5), (7, 0.1), (100, 0.1), (101, 0.3), (50, 0.9), (3, 0.999), (3, 0.01)]
)
def test_split_is_a_partition_of_the_asked_size(n, fraction):
    for seed in range(20):
        training, validation = validation_split(n, fraction, seed)
        assert sorted([*training, *validation]) == list(range(n))
        assert 1 <= len(validation) <= n - 1
        assert abs(len(validation) - n * fraction) <= 1


def test_split_depends_on_the_seed():
    splits = [validation_split(100, 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_each_class_gives_its_share():
    strata = np.repeat([0, 1, 2], [60, 30, 10])[np.random.default_rng(0).permutation(100)]
    for seed in range(10):
        _, validation = validation_split(100, 0.2, seed, strata=strata)
        counts = np.bincount(strata[validation], minlength=3)
        assert np.all(np.abs(counts - [12, 6, 2]) <= 1)


def test_groups_are_not_torn():
    groups = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    for seed in range(10):
        training, validation = validation_split(55, 0.2, seed, groups=groups)
        assert not set(groups[training]) & set(groups[validation])
        assert len(training) and len(validation)


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, "a"])
def test_bad_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="validation_fraction must"):
        validation_split(10, fraction, 0)


def test_one_group_cannot_be_split():
    with pytest.raises(ValueError, match="at least two groups: got 1"):
        validation_split(10, 0.2, 0, groups=np.zeros(10, dtype=int))
    with pytest.raises(ValueError, match="at least two rows: got 1"):
        validation_split(1, 0.2, 0)
