"""How the gallery runs the examples."""


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
    return ["--max-iter", "6", "--out", "../docs/_build/pictures"]
