"""`acu recipes`, `acu recipes copy`, `acu recipes check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal
from acu_cli.completion import recipe_names
from acu_cli.shell_words import quoted

if TYPE_CHECKING:
    from acu_core.recipe.schema import Paper

app = typer.Typer(
    help="List the built-in recipes, copy one to change it, check your own.",
    epilog="Example: acu recipes copy planted mine.toml",
)
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context, json: _Json = False) -> None:
    """List the built-in recipes, copy one to change it, check your own."""
    # Given before the subcommand, it means the same as after it.
    context.default_map = {name: {"json": json} for name in ("list", "copy", "check")}
    if context.invoked_subcommand is None:
        list_recipes(json)


@app.command("list", epilog="Example: acu recipes list --json")
def list_recipes(json: _Json = False) -> None:
    """List the built-in recipes, with the number of their parameters and what the paper reports for them."""
    terminal.note("Starting PyTorch ...")
    from acu_core.forecast.known_data import parameters
    from acu_core.recipe.recipe_file import built_in_recipes, load_recipe

    loaded = [load_recipe(name) for name in built_in_recipes()]
    if json:
        terminal.json(
            {
                "recipes": [
                    {
                        "recipe": recipe.name,
                        "data": recipe.data.name,
                        "network": recipe.network.name,
                        "unit": recipe.network.unit,
                        "parameters": parameters(recipe),
                        "iterations": recipe.schedule.iterations,
                        "paper": recipe.paper.model_dump() if recipe.paper is not None else None,
                        "description": recipe.description,
                    }
                    for recipe in loaded
                ]
            }
        )
        return
    rows = []
    for recipe in loaded:
        count = parameters(recipe)
        rows.append(
            [
                recipe.name,
                recipe.data.name,
                recipe.network.unit,
                f"{count:,}" if count is not None else "-",
                f"{recipe.schedule.iterations:,}",
                _paper(recipe.paper),
                recipe.description,
            ]
        )
    terminal.table(["recipe", "data", "unit", "parameters", "iterations", "the paper's result", "description"], rows)


def _paper(paper: Paper | None) -> str:
    if paper is None:
        return "-"
    if paper.result is None:
        return f"{paper.improvement:+.2f} points over {paper.base}"
    return f"{paper.result:.2f} {'% error' if paper.measure == 'test error %' else '% top-5 accuracy'}"


@app.command("copy", epilog="Example: acu recipes copy cifar10-plain-acu mine.toml")
def copy_recipe(
    name: Annotated[str, typer.Argument(help="A built-in recipe.", autocompletion=recipe_names)],
    to: Annotated[Path | None, typer.Argument(help="The new file. Default: <name>.toml here.")] = None,
    json: _Json = False,
) -> None:
    """Copy a built-in recipe to a file of your own, whose name it takes; nothing is overwritten."""
    from acu_core.durable import write_text_durably
    from acu_core.errors import UserError
    from acu_core.recipe.recipe_copy import copied_text, recipe_name

    path = to if to is not None else Path(f"{name}.toml")
    if path.is_dir():
        path = path / f"{name}.toml"
    text = copied_text(name, recipe_name(path.stem))
    try:
        write_text_durably(path, text, overwrite=False)
    except FileExistsError as error:
        raise UserError(f"{path} exists already and is not overwritten: give another name") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    if json:
        terminal.json({"recipe": recipe_name(path.stem), "path": str(path), "copied": name})
        return
    terminal.print(f"Wrote {path}. Train it with: acu train {quoted(path)}")


@app.command("check", epilog="Example: acu recipes check mine.toml")
def check(
    file: Annotated[str, typer.Argument(help="A TOML file, or a built-in recipe.", autocompletion=recipe_names)],
    json: _Json = False,
) -> None:
    """Check a recipe: its keys, names and values, all that can be known without the data."""
    from acu_core.recipe.recipe_file import load_recipe

    recipe = load_recipe(file)
    if json:
        terminal.json({"recipe": recipe.name, "path": file, "content": recipe.model_dump(exclude_none=True)})
        return
    terminal.print(
        f"{file} is good: {recipe.network.name} ({recipe.network.unit}) on {recipe.data.name}, "
        f"{recipe.schedule.iterations:,} iterations of {recipe.data.batch_size}."
    )
