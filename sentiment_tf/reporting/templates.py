"""Filling in the templates of the page and of the model card."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from sentiment_tf.reporting import formatting


def render(template: str, *, run: Mapping[str, Any], **values: Any) -> str:
    """Fills in a template beside this module.

    In HTML everything is escaped that is not marked as safe. A missing value is an error, not a blank.

    Args:
      template: name of its file.
      run: content of run.json; the template gets it with ``directory``, its folder as its user would write it
        (what is written now may still be in a temporary one).
      values: what else the template asks for; it also finds the filter ``shell``, which quotes for a shell.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shell"] = shlex.quote
    folder = f"{run['config'].get('output_dir', 'saved_models').rstrip('/')}/{run['config'].get('run_name')}"
    return environment.get_template(template).render(run=run, directory=folder, wording=formatting, **values)
