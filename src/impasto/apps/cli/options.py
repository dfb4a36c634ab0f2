"""Settings that every verb and group of verbs is declared with."""

from __future__ import annotations

from typing import Any

# No rich help pages and no completion installer: together they would double the start of every command.
TYPER_OPTIONS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}
