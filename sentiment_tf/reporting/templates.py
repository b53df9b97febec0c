"""Rendering of the templates of the report and the model card."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import export_table, formatting


def render(template: str, *, run: Mapping[str, Any], **values: Any) -> str:
    """Renders a template from this module's folder.

    Every template also has ``directory`` (the run's final folder, as a user would write it: the run is still in a
    temporary one), ``metrics`` (the list of metrics), ``exports`` (the cells of their table), ``formatting`` and the
    filters ``shell`` and ``python``, which quote a string for a shell and for Python. In HTML, values are escaped
    unless they are marked as safe. An undefined value is an error.

    Args:
      template: file name.
      run: content of run.json.
      values: the template's other values.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shell": shlex.quote, "python": python_literal}
    folder = f"{run['config'].get('output_dir', 'saved_models').rstrip('/')}/{run['config'].get('run_name')}"
    exports = export_table.cells(run.get("exports", []))
    shared = {"run": run, "directory": folder, "formatting": formatting, "metrics": metrics.METRICS}
    shared |= {"export_headings": export_table.HEADINGS, "exports": exports}
    return environment.get_template(template).render(shared, **values)


def python_literal(text: str) -> str:
    """Returns a string as Python source between double quotes: JSON's escapes are Python's, too."""
    return json.dumps(text, ensure_ascii=False)
