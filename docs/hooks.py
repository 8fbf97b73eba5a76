"""The site has the figures of results/, and links to nothing outside itself."""

import pathlib
import re

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
_KINDS = (".svg", ".png")


def on_files(files, config):
  """Adds the committed figures, at the paths that pages name."""
  for path in sorted((ROOT / "results").rglob("*")):
    if path.suffix in _KINDS:
      name = path.relative_to(ROOT).as_posix()
      files.append(File.generated(config, name, abs_src_path=str(path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Makes ../results/ the site's own; other files of the clone plain text.

  Raises:
    PluginError: a page names a file that is not there.
  """

  def linked(match):
    text, path = match[1], match[2]
    if not (ROOT / path).exists():
      raise PluginError(f"{page.file.src_path}: {path} is not there")
    if path.startswith("results/") and path.endswith(_KINDS):
      return f"[{text}]({path})"
    return f"{text} (`{path}`)"

  return re.sub(r"\[([^\]]*)\]\(\.\./([^)#]*)[^)]*\)", linked, markdown)
