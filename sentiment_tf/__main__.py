"""The program's commands under one name: python -m sentiment_tf COMMAND …, or sentiment-tf COMMAND …"""

import runpy
import sys

from sentiment_tf import __version__

COMMANDS = {
    "train": "fine-tune a model, and leave a folder with everything that was made of it",
    "predict": "answer texts, from the command line or from files of any size",
    "score": "answer many files on every core, or on a Ray cluster",
    "evaluate": "measure a model on labelled texts",
    "push": "upload a finished run to the Hugging Face hub",
    "compare": "list runs by accuracy",
    "doctor": "check versions, devices, the hub and the disk",
}


def main() -> None:
    """Runs the command that the first argument names, or lists the commands."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(_listing())
        return
    if name == "--version":
        print(f"sentiment-tf {__version__}")
        return
    if name not in COMMANDS:
        sys.exit(_unknown(name))
    sys.argv = [name, *arguments]
    runpy.run_module(f"sentiment_tf.{name}", run_name="__main__", alter_sys=True)


def _listing() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    more = "sentiment-tf COMMAND --help lists its flags, sentiment-tf --version the version"
    return "\n".join(["usage: sentiment-tf COMMAND [flags]", "", *lines, "", more])


def _unknown(name: str) -> int:
    print(f"error: {name}: unknown command; choose from {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
