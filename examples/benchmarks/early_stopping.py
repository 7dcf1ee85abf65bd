"""What early stopping saves and costs: the same fits with and without it.

Default parameters but for `early_stopping`, on MNIST (with ``--data``) and on scikit-learn's
digits, the latter with two families. -ELBO is that of the test images, in nats per image; "best
epoch" is the least of the fit with early stopping after any of its epochs.
"""

from time import perf_counter

from _common import argument_parser, report
from _pictures import digits, idx_files
from field import HeldOut, rows_of

from skvae import ConvVAETransformer


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--max-iter", type=int)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.max_iter = 2
    cases = [("digits", digits(arguments.seed), family) for family in ("gaussian", "bernoulli")]
    if arguments.data:
        cases.append(("MNIST", idx_files(arguments.data), "bernoulli"))
    results = [measure(*case, arguments) for case in cases]
    table = [{key: text(value) for key, value in result.items()} for result in results]
    report(arguments, table, results=results)


def measure(name, pictures, likelihood, arguments):
    result = {"images": name, "family": likelihood}
    for label, early_stopping in (("all epochs", False), ("early stopping", True)):
        watch = HeldOut(rows_of(pictures.test[:2_000]).astype(pictures.test.dtype))
        vae = ConvVAETransformer(
            arguments.components,
            likelihood=likelihood,
            early_stopping=early_stopping,
            max_iter=arguments.max_iter,
            callbacks=[watch],
            random_state=arguments.seed,
        )
        start = perf_counter()
        vae.fit(pictures.train)
        result |= {
            f"{label}, epochs": vae.n_iter_,
            f"{label}, seconds": perf_counter() - start,
            f"{label}, -ELBO": -vae.score(pictures.test[:2_000]),
        }
    return result | {"best epoch, -ELBO": min(watch.losses_)}


def text(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
