"""All of scikit-learn's estimator checks: none skipped, none expected to fail."""

import unittest

import numpy as np
import pytest
import sklearn.utils.estimator_checks as checks
from conftest import HAS_CALLBACKS
from sklearn.base import clone, is_classifier, is_clusterer
from sklearn.utils import get_tags

from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer

QUICK = {"max_iter": 3}
SMALL = {**QUICK, "hidden_channels": (4,), "hidden_units": 16}
# For the one check that asks for an accuracy.
ACCURATE = {"max_iter": 10, "learning_rate": 0.02, "batch_size": 32}
# Each class by its defaults, but for a short training: these run all checks.
DEFAULTS = [ConvVAETransformer(**QUICK), ConvVAEClassifier(**SMALL), ConvVAECluster(**SMALL)]
# Parameters that change what `fit` does with images and labels: these run the checks of results.
FURTHER = [
    ConvVAETransformer(**SMALL, image_shape=(1, -1)),
    ConvVAETransformer(**SMALL, image_shape=(-1, 1, 1), channel_axis=0),
    ConvVAETransformer(**SMALL, early_stopping=True),
    ConvVAETransformer(**SMALL, likelihood="gaussian"),
    ConvVAETransformer(**SMALL, likelihood="continuous_bernoulli"),
    ConvVAETransformer(**SMALL, binarize=True, beta_warmup=0.5),
    ConvVAETransformer(**SMALL, missing_values=np.nan, likelihood="gaussian"),
    ConvVAEClassifier(**SMALL, missing_values=np.nan, early_stopping=True, image_shape=(1, -1)),
    ConvVAEClassifier(
        **SMALL,
        unlabeled=-999,
        likelihood="continuous_bernoulli",
        early_stopping=False,
        beta_warmup=0.5,
    ),
    ConvVAECluster(**SMALL, missing_values=np.nan, early_stopping=True, image_shape=(1, -1)),
]
OF_CLUSTERERS = {"check_clustering", "check_clusterer_compute_labels_predict"}
# What the others look at belongs to the class, whatever its parameters: names, tags, copies,
# parameters, frames, errors before a fit, kinds of arrays.
CHECKS_OF_RESULTS = OF_CLUSTERERS | {
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit_idempotent",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_fit1d",
    "check_fit2d_predict1d",
    "check_n_features_in",
    "check_dict_unchanged",
    "check_readonly_memmap_input",
    "check_classifiers_train",
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_classifiers_regression_target",
    "check_decision_proba_consistency",
    "check_supervised_y_no_nan",
}


def name_of(check):
    return getattr(check, "func", check).__name__


# Importable, but not among those that `check_estimator` runs.
FURTHER_CHECKS = [
    checks.check_dataframe_column_names_consistency,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_global_output_transform_pandas,
    checks.check_get_feature_names_out_error,
    checks.check_inplace_ensure_writeable,
    checks.check_param_validation,
]


def run(check, *args):
    """Run a check of scikit-learn, which asserts; if it skips itself, the test fails, too."""
    try:
        check(*args)
    except unittest.SkipTest as skipped:
        pytest.fail(f"skipped: {skipped}")


@checks.parametrize_with_checks(DEFAULTS)
def test_sklearn_checks(estimator, check):
    if name_of(check) == "check_classifiers_train":
        estimator = clone(estimator).set_params(**ACCURATE)
    run(check, estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{estimator}-{name_of(check)}")
        for each in FURTHER
        for estimator, check in checks.estimator_checks_generator(each)
        # Read-only arrays are one of the kinds.
        if name_of(check) in CHECKS_OF_RESULTS and not getattr(check, "keywords", {})
    ],
)
def test_checks_of_results(estimator, check):
    if name_of(check) == "check_classifiers_train":
        estimator = clone(estimator).set_params(**ACCURATE)
    run(check, estimator)


# These checks mix frames and arrays: scikit-learn is right to warn of it.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("check", FURTHER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", DEFAULTS, ids=str)
def test_further_checks(estimator, check):
    if check is checks.check_inplace_ensure_writeable:
        # It sends NaN to every estimator that has the parameter.
        estimator = clone(estimator).set_params(missing_values=np.nan)
    run(check, type(estimator).__name__, estimator)


def test_no_check_is_marked(request):
    items = [item for item in request.session.items if item.path == request.path]
    marks = {mark.name for item in items for mark in item.iter_markers()}
    assert marks <= {"parametrize", "filterwarnings"}  # no skip, no xfail


@pytest.mark.parametrize("estimator", DEFAULTS + FURTHER, ids=str)
def test_the_number_of_checks(estimator):
    allow_nan = estimator.missing_values is not None
    ran = [check for _, check in checks.estimator_checks_generator(estimator)]
    if HAS_CALLBACKS:  # scikit-learn 1.9
        # NaN is for an estimator that refuses it; `test_holes` looks at infinity.
        assert len(ran) + allow_nan >= (61 if is_classifier(estimator) else 47)
    names = {name_of(check) for check in ran}
    of_classifiers = {name for name in CHECKS_OF_RESULTS if "classifiers" in name} | {
        "check_decision_proba_consistency",
        "check_supervised_y_no_nan",
    }
    assert CHECKS_OF_RESULTS - of_classifiers - OF_CLUSTERERS <= names
    assert "check_positive_only_tag_during_fit" in names
    assert ("check_estimators_nan_inf" in names) is not allow_nan
    of_classifiers |= {
        "check_classifiers_one_label_sample_weights",
        "check_supervised_y_2d",
        "check_requires_y_none",
    }
    assert names & of_classifiers == (of_classifiers if is_classifier(estimator) else set())
    assert names & OF_CLUSTERERS == (OF_CLUSTERERS if is_clusterer(estimator) else set())


@pytest.mark.parametrize(
    "estimator", [ConvVAETransformer(), ConvVAEClassifier(), ConvVAECluster()], ids=str
)
def test_no_tag_that_would_leave_checks_out(estimator):
    tags = get_tags(estimator)
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert not tags._skip_test
    assert not tags.input_tags.positive_only
    assert tags.transformer_tags.preserves_dtype == ["float32"]
    assert tags.target_tags.required == is_classifier(estimator)
    if is_classifier(estimator):
        assert tags.classifier_tags.multi_class
        assert not tags.classifier_tags.poor_score


def test_checks_can_fail():
    class Broken(ConvVAETransformer):
        def transform(self, X):
            return super().transform(X) + len(X)

    with pytest.raises(AssertionError, match="not invariant"):
        checks.check_methods_subset_invariance("Broken", Broken(max_iter=1))
