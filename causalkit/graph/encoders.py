"""GNNRegressor and GNNClassifier: networks on the nodes of a graph, in the manner of scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from causalkit.documented import DocumentedEstimator
from causalkit.graph.encoder_base import GNNMixin
from causalkit.graph.encoder_training import Target
from causalkit.validation import check_magnitude, check_vector, unboxed

__all__ = ["GNNClassifier", "GNNRegressor"]

Array = NDArray[np.float64]


class GNNRegressor(RegressorMixin, GNNMixin, DocumentedEstimator):
    r"""Mean outcome of nodes from their own and their neighbours' covariates.

    Estimand: :math:`m(i) = E[Y_i \mid X, G]`. Estimator: the mean over bags of networks f with

    .. math:: \min_f\; \sum_i w_i \big(y_i - f_i(X, G)\big)^2,

    the sum over the rows of ``fit``, while covariates of all nodes pass along the edges. With
    :math:`h^{(0)} = X` standardised and a linear map W₀ of the node's own values in every layer (the root path,
    without which an average over neighbours dilutes them),

    .. math::
        \text{sage: } W_0h + W_1 R h, \quad \text{gcn: } W_0h + W_1 S h, \quad
        \text{gat: } W_0h + \textstyle\sum_u \alpha_{vu} W_1 h_u, \quad
        \text{gin: } W_0h + g\big(h + A h\big),

    each through a rectifier, with A, R, S of :class:`Graph`, attention α and a perceptron g; "sign" is a perceptron
    on :class:`HopFeatures`. The last map starts at zero, so that training starts from the mean outcome.

    Assumptions: what matters lies within the hops or layers; covariates were settled before the outcome.

    Parameters
    ----------
    encoder : {"sign", "sage", "gcn", "gat", "gin"}, torch.nn.Module or callable, default="sign"
        A module of your own has ``forward(x, adjacency)`` with x (nodes, p) standardised, in float32, and
        adjacency a ``torch.sparse_csr`` tensor with receivers in the rows and the weights of the edges (1 without),
        and returns (nodes, 1), or (nodes, classes) for a classifier. It is copied for every bag; a function
        (n_features, n_outputs) that returns one is called for every bag, so that bags differ in their start.
    hops : int, default=2
        Steps of the hop features ("sign").
    hidden : int, default=64
        Width of the hidden layers.
    n_layers : int, default=2
        Layers of message passing, or hidden layers of the perceptron ("sign").
    heads : int, default=4
        Attention heads ("gat"), a divisor of ``hidden``.
    dropout : float, default=0.0
        Share of hidden values that are set to zero in training.
    learning_rate, weight_decay : float, default=3e-3, 1e-3
        Of AdamW.
    max_iter, patience : int, default=400, 40
        Most epochs, and epochs without a relative improvement of 1e-4 on the validation rows after which a bag stops.
    validation_fraction : float, default=0.2
        Share of the rows that a bag does not train on; each bag draws its own, and keeps the weights of the epoch
        that is best on them.
    n_bags : int, default=3
        Number of networks.
    batch_size : int or "auto", default="auto"
        Rows per step. "auto" takes all rows; with "sign" above 10,000 rows, and with the others above 100,000 nodes,
        8192. In batches, the encoders that pass messages see sampled neighbourhoods.
    fanout : tuple of int, length n_layers, default=(10, 10)
        Neighbours that are drawn per node, from the rows outwards, where neighbourhoods are sampled. Predictions
        always use whole neighbourhoods.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        "auto" is the GPU when there is one. Random numbers are drawn on the CPU for every device.
    random_state : int, RandomState, Generator or None, default=None
        Seed. On the CPU a fit repeats exactly, apart from a module of your own that draws random numbers while
        other threads do.
    verbose : int, default=0
        1 shows progress lines on the standard error stream.

    Attributes
    ----------
    n_iter_ : ndarray of int, shape (n_bags,)
        Epochs of each bag.
    validation_loss_ : ndarray, shape (n_bags,)
        Mean squared error on its validation rows, with the weights that were kept.
    loss_curve_ : list of ndarray, shape (epochs,) each
        Training loss by epoch.
    graph_ : Graph
        Graph of ``fit``, which ``predict`` uses by default.
    target_center_, target_scale_ : float
        Weighted mean and standard deviation of the outcome in ``fit``.
    hop_features_, network_ : HopFeatures, StackedMLP
        With "sign" without dropout: the columns and the perceptrons on them.
    weights_, sizes_ : list of dict of str to ndarray, tuple of int
        Otherwise: weights of each bag by name, and the sizes of the networks.
    modules_ : list of torch.nn.Module
        With an encoder of your own: the trained copies, on the CPU.
    center_, scale_ : ndarray, shape (p,)
        Standardisation of the covariates, where the encoder passes messages ("gin": and of log(1 + degree)).
    encoder_, device_ : str
        Encoder ("module" for one of your own), and where it trained.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    TypeError
        ``graph`` is missing or no Graph.
    AlignmentError
        Rows cannot be matched to nodes.
    GraphError
        ``predict`` on a directed graph after ``fit`` on an undirected one, or the other way round.
    ValueError
        Text, NaN or infinity, lengths that differ, options out of range.
    DeviceUnavailableError, MissingDependencyError
        No such GPU; torch, or torch_geometric for an encoder that passes messages, is not installed.
    FloatingPointError
        The loss of a bag is not finite, again after one new start at a third of the rate.

    Warns
    -----
    GraphCoverageWarning
        More than 20 % of the edges into the rows come from nodes without covariates, or there are no edges.

    Notes
    -----
    Predictions for the rows of ``fit`` are not out-of-fold. The layers are those of torch_geometric; sums over
    neighbours are products with a CSR matrix whose transposed one is kept. Above 100,000 nodes outputs are computed
    layer by layer, exactly. :func:`causalkit.save` stores all but modules of your own, which can be pickled.

    References
    ----------
    Frasca et al. (2020), arXiv:2004.11198 (sign); Hamilton, Ying and Leskovec (2017), arXiv:1706.02216, algorithm 2
    for the sampling (sage); Kipf and Welling (2017), arXiv:1609.02907, equation 2 (gcn); Veličković et al. (2018),
    arXiv:1710.10903, equation 3 (gat); Xu et al. (2019), arXiv:1810.00826, equation 4.1 (gin).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import GNNRegressor, Graph
    >>> rng = np.random.default_rng(0)
    >>> graph = Graph.from_edges(rng.integers(0, 200, size=(600, 2)), n_nodes=200)
    >>> X = rng.normal(size=(200, 3))
    >>> y = 3 * graph.adjacency("mean") @ X[:, 0]
    >>> model = GNNRegressor(max_iter=60, n_bags=1, random_state=0, device="cpu").fit(X, y, graph=graph)
    >>> bool(np.corrcoef(model.predict(X), y)[0, 1] > 0.9)
    True
    """

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Array:
        """Mean outcome of rows.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Covariates of the rows.
        graph : Graph, optional
            Their network, which may be another one; that of ``fit`` by default.
        nodes : array-like, shape (m,), optional
            Node of each row.

        Returns
        -------
        ndarray, shape (m,)
        """
        outputs, _ = self._outputs(X, graph, nodes)
        return self.target_center_ + self.target_scale_ * np.mean(outputs, axis=0)[:, 0]

    def score(self, X: Any, y: Any, *, graph: Any = None, nodes: Any = None, sample_weight: Any = None) -> float:
        """Share of the outcome's variance that the predictions explain, R².

        Parameters
        ----------
        X, graph, nodes
            As for ``predict``.
        y : array-like, shape (m,)
            Outcome.
        sample_weight : array-like, shape (m,), optional
            Weights.

        Returns
        -------
        float
        """
        return float(r2_score(y, self.predict(X, graph=graph, nodes=nodes), sample_weight=sample_weight))

    def _make_target(self, y: Any, weight: Array) -> Target:
        values = check_vector(column_or_1d(y, warn=True), "y", n_rows=len(weight), like="X")
        check_magnitude(values, "y")
        center = float(np.average(values, weights=weight))
        spread = math.sqrt(float(np.average((values - center) ** 2, weights=weight)))
        # A spread below rounding is that of a constant.
        scale = spread if spread > 1e-13 * abs(center) else 1.0
        self.target_center_, self.target_scale_ = center, scale
        return Target((values - center) / scale, weight, None)

    def _units(self) -> float:
        return self.target_scale_**2


class GNNClassifier(ClassifierMixin, GNNMixin, DocumentedEstimator):
    r"""Class probabilities of nodes from their own and their neighbours' covariates.

    Estimand: :math:`P(Y_i = k \mid X, G)`, such as the probability of a treatment. Estimator: the mean over bags of
    softmax probabilities p of networks with

    .. math:: \min_p\; -\sum_i w_i \log p_{y_i}(i; X, G),

    that start from the class shares. Encoders, sampling and assumptions are those of :class:`GNNRegressor`.

    Parameters
    ----------
    encoder : {"sign", "sage", "gcn", "gat", "gin"}, torch.nn.Module or callable, default="sign"
        A module of your own returns (nodes, classes), added to the logarithms of the class shares.
    hops, hidden, n_layers, heads : int, default=2, 64, 2, 4
        Sizes, see :class:`GNNRegressor`.
    dropout, learning_rate, weight_decay : float, default=0.0, 3e-3, 1e-3
        Of the training.
    max_iter, patience, validation_fraction, n_bags : default=400, 40, 0.2, 3
        Early stopping and bags; each class gives its share of the validation rows.
    batch_size, fanout : default="auto", (10, 10)
        Rows per step, and neighbours drawn where neighbourhoods are sampled.
    device, random_state, verbose : default="auto", None, 0
        As for :class:`GNNRegressor`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Classes.
    n_iter_, validation_loss_ : ndarray, shape (n_bags,)
        Epochs; mean log loss on the validation rows, with the weights that were kept.
    loss_curve_ : list of ndarray, shape (epochs,) each
        Training loss by epoch.
    target_offset_ : ndarray, shape (n_classes,)
        Logarithms of the class shares.
    graph_, hop_features_, network_, weights_, sizes_, modules_, center_, scale_, encoder_, device_
        As for :class:`GNNRegressor`.

    Raises
    ------
    ValueError
        One class only; otherwise as for :class:`GNNRegressor`.
    TypeError, AlignmentError, GraphError, DeviceUnavailableError, MissingDependencyError, FloatingPointError
        As for :class:`GNNRegressor`.

    Warns
    -----
    GraphCoverageWarning
        As for :class:`GNNRegressor`.

    References
    ----------
    As for :class:`GNNRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import GNNClassifier, Graph
    >>> rng = np.random.default_rng(0)
    >>> graph = Graph.from_edges(rng.integers(0, 200, size=(600, 2)), n_nodes=200)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(graph.adjacency("mean") @ X[:, 0] > 0, "treated", "control")
    >>> model = GNNClassifier(max_iter=60, n_bags=1, random_state=0, device="cpu").fit(X, y, graph=graph)
    >>> bool(model.score(X, y) > 0.85)
    True
    """

    def predict_proba(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Array:
        """Class probabilities of rows.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Covariates of the rows.
        graph : Graph, optional
            Their network, which may be another one; that of ``fit`` by default.
        nodes : array-like, shape (m,), optional
            Node of each row.

        Returns
        -------
        ndarray, shape (m, n_classes)
            Columns in the order of ``classes_``.
        """
        outputs, are_probabilities = self._outputs(X, graph, nodes)
        if are_probabilities:
            return outputs[0]
        return np.mean([softmax(out + self.target_offset_, axis=1) for out in outputs], axis=0)

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> NDArray[Any]:
        """Most probable class of rows.

        Parameters
        ----------
        X, graph, nodes
            As for ``predict_proba``.

        Returns
        -------
        ndarray, shape (m,)
        """
        probability = self.predict_proba(X, graph=graph, nodes=nodes)
        return np.asarray(self.classes_[np.argmax(probability, axis=1)])

    def score(self, X: Any, y: Any, *, graph: Any = None, nodes: Any = None, sample_weight: Any = None) -> float:
        """Share of rows whose class is predicted.

        Parameters
        ----------
        X, graph, nodes
            As for ``predict``.
        y : array-like, shape (m,)
            Classes.
        sample_weight : array-like, shape (m,), optional
            Weights.

        Returns
        -------
        float
        """
        return float(accuracy_score(y, self.predict(X, graph=graph, nodes=nodes), sample_weight=sample_weight))

    def _make_target(self, y: Any, weight: Array) -> Target:
        labels = unboxed(column_or_1d(y, warn=True))
        if len(labels) != len(weight):
            raise ValueError(
                f"y has {len(labels)} rows, but X has {len(weight)}: unequal lengths; pass the same rows to both."
            )
        if labels.dtype.kind == "f":
            check_vector(labels, "y")
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        present = np.unique(codes[weight > 0])
        if len(present) < len(self.classes_) or len(present) < 2:
            raise ValueError(
                f"y holds {len(present)} class(es) among the rows of positive weight ("
                f"{', '.join(map(repr, self.classes_[present][:5].tolist()))}), {len(self.classes_)} in all: expected "
                "at least two classes, each with such a row. Pass rows of every class."
            )
        shares = np.bincount(codes, weights=weight) / weight.sum()
        self.target_offset_ = np.log(shares)
        return Target(np.asarray(codes, dtype=np.int64), weight, self.target_offset_)
