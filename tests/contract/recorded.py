"""Messages as they were sent, one file for each version of each: messages/<type>/v<version>.json.

    python -m tests.contract.recorded

writes the files of the versions that have none yet, with an example made from the fields' types, to be made more telling by
hand. A file that is there stays: messages of its version may lie in a queue, and events are kept for ever.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import TypeAdapter

import contracts
from chassis.messaging.message import REGISTRY, Message

DIRECTORY = Path(__file__).parent / "messages"


def messages() -> dict[str, type[Message]]:
    """Every message of `contracts`, by its type."""
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    return {type_: cls for type_, cls in REGISTRY.items() if cls.__module__.startswith("contracts.")}


def file_of(type_: str, version: int) -> Path:
    return DIRECTORY / type_ / f"v{version}.json"


def schema_of(shape: Any) -> dict[str, Any]:
    """The JSON Schema of a dataclass, without what is only for readers."""
    return _without_prose(TypeAdapter(shape).json_schema())  # type: ignore[no-any-return]


def _without_prose(value: Any) -> Any:
    match value:
        case {"properties": dict(fields), **rest}:
            bare = {name: _without_prose(field) for name, field in fields.items()}
            return {**_without_prose(rest), "properties": bare}
        case dict():
            return {name: _without_prose(each) for name, each in value.items() if name not in ("title", "description")}
        case list():
            return [_without_prose(each) for each in value]
    return value


def example_of(schema: dict[str, Any], name: str, definitions: dict[str, Any]) -> Any:
    """A value that fits the schema; `name` is the field's."""
    match schema:
        case {"$ref": str(reference)}:
            return example_of(definitions[reference.rpartition("/")[2]], name, definitions)
        case {"anyOf": [first, *_]}:
            return example_of(first, name, definitions)
        case {"enum": [first, *_]} | {"const": first}:
            return first
        case {"properties": dict(fields)}:
            return {each: example_of(field, each, definitions) for each, field in fields.items()}
        case {"additionalProperties": dict(value)}:
            return {str(uuid5(NAMESPACE_URL, name)): example_of(value, name, definitions)}
        case {"type": "array", "items": dict(item)}:
            return [example_of(item, name, definitions)]
        case {"format": "uuid"}:
            return str(uuid5(NAMESPACE_URL, name))
        case {"type": "integer"}:
            return 1
        case {"type": "boolean"}:
            return True
        case {"type": "string"}:
            return name
    raise NotImplementedError(f"Write the example of {name} by hand: {schema}")


def main() -> int:
    """Exit code 1 when a message has changed without a new version."""
    changed = 0
    for type_, cls in messages().items():
        file, schema = file_of(type_, cls.version), schema_of(cls)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {"schema": schema, "example": example_of(schema, type_, schema.get("$defs", {}))}
            file.write_text(json.dumps(content, indent=1) + "\n")
            print(f"Wrote {file.relative_to(Path.cwd())}")
        elif json.loads(file.read_text())["schema"] != schema:
            print(f"{type_} is not what version {cls.version} was: give it an upcaster.")
            changed = 1
    return changed


if __name__ == "__main__":
    sys.exit(main())
