"""How sphinx-gallery orders and runs the examples."""

# As one would read them.
ORDER = [
    "plot_digits.py",
    "plot_own_images.py",
    "plot_component_meaning.py",
    "plot_interpolation.py",
    "plot_n_components.py",
    "plot_pipeline.py",
    "plot_likelihoods.py",
    "plot_photographs.py",
    "plot_outliers.py",
    "plot_few_labels.py",
    "plot_wrong_labels.py",
    "plot_clusters.py",
    "plot_holes.py",
    "plot_resume.py",
]


class ReadingOrder:
    """Key for sorting the examples of a folder.

    Parameters
    ----------
    src_dir : str
        Given by sphinx-gallery.
    """

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __call__(self, filename):
        return ORDER.index(filename)


def arguments(gallery_conf, script_vars):
    """Command-line arguments of an example: only the demo has any.

    Parameters
    ----------
    gallery_conf, script_vars : dict
        Given by sphinx-gallery.

    Returns
    -------
    arguments : list of str
        Paths are relative to the folder of the example.
    """
    if not script_vars["src_file"].endswith("plot_digits.py"):
        return []
    return ["--max-iter", "6", "--out", "../docs/_build/figures"]
