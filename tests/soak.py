"""The full figures of docs/reliability.md: python tests/soak.py [--share 0.1]."""

import argparse
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import reliability
import torch

FUZZ = Path(__file__).with_name("fuzz.py")


def fuzz_with_atheris(n_runs):
    """Coverage-guided fuzzing of the reader, where atheris installs."""
    try:
        version("atheris")
    except ModuleNotFoundError:
        return "atheris is not installed"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, FUZZ, f"-atheris_runs={n_runs}", "-max_len=60000", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {"runs": n_runs}


def main():
    parser = argparse.ArgumentParser(description="Soak test of skvae.")
    parser.add_argument("--share", type=float, default=1.0, help="share of the full counts")
    share = parser.parse_args().share

    def count(full):
        return max(1, round(share * full))

    def memory(n):
        first, last = reliability.memory_of_fits(n)
        assert last < 1.02 * first, (first, last)
        return f"{first:.0f} MB after the 20th fit, {last:.0f} MB after the last"

    rows = [
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"skvae {version('skvae')}, {date.today()}\n",
        "| what | times | result | seconds |",
        "| --- | --- | --- | --- |",
    ]
    print(*rows, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for what, n, run in [
            ("fits in one process", max(21, count(300)), memory),
            (
                "`kill -9`, then resume",
                count(100),
                lambda n: reliability.kill_and_resume(n, Path(folder)),
            ),
            (
                "files with defects",
                count(15_000),
                lambda n: reliability.mutated_files(n, Path(tempfile.mkdtemp(dir=folder))),
            ),
            ("random arrays", count(5_000), reliability.any_arrays),
            ("fits of many kinds of pictures", count(90), reliability.fits_of_pictures),
            ("holes, masks and markers", count(150), reliability.holes_and_markers),
            (
                "groups of processes",
                count(21),
                lambda n: reliability.groups_of_processes(n, Path(tempfile.mkdtemp(dir=folder))),
            ),
            ("`transform` from 8 threads", count(10_000), reliability.transform_while_fitting),
            ("atheris on the reader", count(50_000), fuzz_with_atheris),
        ]:
            result, seconds = reliability.seconds(run, n)
            if isinstance(result, dict):
                result = ", ".join(f"{value:,} {key}" for key, value in result.items())
            print(f"| {what} | {n:,} | {result} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
