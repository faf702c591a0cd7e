"""Two small classifiers on standardised features, chosen by their loss on validation images."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

L2_STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Factors of half the squared norm of the weights, which is added to the mean cross-entropy."""
MAX_ITERATIONS = 1000
TOLERANCE, LONG_TOLERANCE, LONG_FEATURES = 1e-4, 1e-3, 512
"""Bounds of the gradient at which a fit stops: the first for short features, the second for longer
ones, whose fits take seconds. The second changes test accuracies by about 0.002."""

HIDDEN, LEARNING_RATE, BATCH = 256, 1e-3, 256
MAX_ROUNDS, PATIENCE, MIN_STEPS = 60, 2, 10
MLP_STREAM = 61


class Labelled(NamedTuple):
    """Standardised features (N, D) float32 and classes (N,) from 0 on, int64."""

    features: torch.Tensor
    classes: torch.Tensor


@dataclass(frozen=True)
class Classifier:
    """`predict` maps features (N, D) to probabilities (N, K); `facts` say how it was fitted."""

    predict: Callable[[torch.Tensor], np.ndarray]
    facts: dict[str, Any]


def fit_linear(train: Labelled, val: Labelled) -> Classifier:
    """Multinomial logistic regression with L2, by L-BFGS.

    Strengths are tried from the strongest on, each starting from the previous weights, until the
    validation loss rises; a fit that reaches the iteration limit is not `converged`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    num_train, num_features = train.features.shape
    tolerance = LONG_TOLERANCE if num_features > LONG_FEATURES else TOLERANCE
    model = LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, warm_start=True)
    features, classes = train.features.numpy(), train.classes.numpy()
    least, weights, facts = np.inf, (np.empty(0), np.empty(0)), {}
    for strength in L2_STRENGTHS:
        model.C = 1 / (strength * num_train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, classes)
        loss = _log_loss(model.predict_proba(val.features.numpy()), val.classes.numpy())
        if loss >= least:
            break
        least, weights = loss, (model.coef_.copy(), model.intercept_.copy())
        facts = {"l2": strength, "converged": bool(model.n_iter_.max() < MAX_ITERATIONS)}
    model.coef_, model.intercept_ = weights

    def predict(features: torch.Tensor) -> np.ndarray:
        return np.asarray(model.predict_proba(features.numpy()))

    return Classifier(predict, facts)


def fit_mlp(
    train: Labelled, val: Labelled, num_classes: int, seed: int, device: torch.device
) -> Classifier:
    """One hidden layer of 256 units, trained by Adam; returns the weights with the lowest
    validation loss.

    A round is one epoch, or as many as are needed for 10 steps; training ends after 2 consecutive
    rounds without a lower validation loss. Weights and batches are functions of `seed`.
    """
    key = int(np.random.SeedSequence([seed, MLP_STREAM]).generate_state(1)[0])
    draws = torch.Generator().manual_seed(key)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        hidden = nn.Linear(train.features.shape[1], HIDDEN)
        network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(HIDDEN, num_classes)).to(device)
    train, val = (Labelled(*(x.to(device) for x in labelled)) for labelled in (train, val))
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
    num_batches = -(-len(train.classes) // BATCH)
    num_epochs = max(1, MIN_STEPS // num_batches)
    least, best, best_round = float("inf"), network.state_dict(), 0
    for number in range(1, MAX_ROUNDS + 1):
        for _ in range(num_epochs):
            order = torch.randperm(len(train.classes), generator=draws).to(device)
            for places in order.split(BATCH):
                optimiser.zero_grad()
                outputs = network(train.features[places])
                nn.functional.cross_entropy(outputs, train.classes[places]).backward()
                optimiser.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(network(val.features), val.classes).item()
        if loss < least:
            least, best_round = loss, number
            best = {name: value.clone() for name, value in network.state_dict().items()}
        elif number - best_round >= PATIENCE:
            break
    network.load_state_dict(best)

    @torch.no_grad()
    def predict(features: torch.Tensor) -> np.ndarray:
        return np.asarray(network(features.to(device)).double().softmax(1).cpu().numpy())

    return Classifier(predict, {"num_epochs": best_round * num_epochs})


def _log_loss(probabilities: np.ndarray, classes: np.ndarray) -> float:
    true = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.maximum(true, 1e-30)).mean())
