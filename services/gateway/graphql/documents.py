"""Reads GraphQL documents: queries of fields with arguments, within bounds; fragments are not among them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql.error import GraphQLError
from graphql.language import ast, parser
from graphql.utilities import value_from_ast_untyped

from services.gateway import limits
from services.gateway.graphql.model import Field, QueryError

_TOO_DEEP = f"Query exceeds maximum depth of {limits.GRAPHQL_DEPTH_MAX}"


def parse(text: str, variables: Mapping[str, Any], operation_name: str | None = None) -> tuple[Field, ...]:
    """Return what a document asks for, at most so deep, so much and under so many other names as `limits` says.

    Raises QueryError.
    """
    if len(text) > limits.GRAPHQL_LENGTH_MAX:
        raise QueryError(f"Query exceeds {limits.GRAPHQL_LENGTH_MAX} characters")
    try:
        document = parser.parse(text, no_location=True)
    except GraphQLError as error:
        raise QueryError(error.message) from None
    operation = _operation(document, operation_name)
    _check(operation.selection_set, depth=1)
    _check_counts(operation)
    known = {
        each.variable.name.value: variables.get(each.variable.name.value, _value(each.default_value, {}))
        for each in operation.variable_definitions or ()
    }
    return _fields(operation.selection_set, known)


def _operation(document: ast.DocumentNode, name: str | None) -> ast.OperationDefinitionNode:
    operations = [each for each in document.definitions if isinstance(each, ast.OperationDefinitionNode)]
    if len(operations) < len(document.definitions):
        raise QueryError("Fragments are not served here, nor are definitions of types")
    named = [each for each in operations if name is None or (each.name is not None and each.name.value == name)]
    if len(named) != 1:
        raise QueryError("Must provide operation name if query contains multiple operations, and no unknown one")
    if named[0].operation is not ast.OperationType.QUERY:
        raise QueryError(f"Only queries are served here, not {named[0].operation.value}")
    return named[0]


def _check(selected: ast.SelectionSetNode, *, depth: int) -> None:
    """Raise QueryError for what is too deep, and for what is no field."""
    if depth > limits.GRAPHQL_DEPTH_MAX:
        raise QueryError(_TOO_DEEP)
    for field in selected.selections:
        if not isinstance(field, ast.FieldNode):
            raise QueryError("Fragments are not served here")
        for directive in field.directives or ():
            # `@component(name: "…")` says who asks, and nothing here depends on it.
            if directive.name.value != "component":
                raise QueryError(f"Unknown directive '@{directive.name.value}'.")
        if field.selection_set is not None:
            _check(field.selection_set, depth=depth + 1)


def _check_counts(operation: ast.OperationDefinitionNode) -> None:
    fields = list(_all(operation.selection_set))
    if len(operation.selection_set.selections) > limits.GRAPHQL_ROOT_FIELDS_MAX:
        raise QueryError(f"GraphQL queries should have at most {limits.GRAPHQL_ROOT_FIELDS_MAX} root fields")
    if len(fields) > limits.GRAPHQL_FIELDS_MAX:
        raise QueryError(f"Query exceeds maximum total selections of {limits.GRAPHQL_FIELDS_MAX}")
    if sum(field.alias is not None for field in fields) > limits.GRAPHQL_ALIASES_MAX:
        raise QueryError(f"GraphQL queries should have at most {limits.GRAPHQL_ALIASES_MAX} aliases")


def _all(selected: ast.SelectionSetNode) -> Iterator[ast.FieldNode]:
    for field in selected.selections:
        assert isinstance(field, ast.FieldNode)
        yield field
        if field.selection_set is not None:
            yield from _all(field.selection_set)


def _fields(selected: ast.SelectionSetNode | None, known: Mapping[str, Any]) -> tuple[Field, ...]:
    nodes: Sequence[Any] = selected.selections if selected else ()
    return tuple(
        Field(
            name=node.name.value,
            key=(node.alias or node.name).value,
            arguments={argument.name.value: _value(argument.value, known) for argument in node.arguments or ()},
            selections=_fields(node.selection_set, known),
        )
        for node in nodes
    )


def _value(node: ast.ValueNode | None, known: Mapping[str, Any], depth: int = 1) -> Any:
    """Return what a value stands for; the name of an enum's value is a text."""
    if depth > limits.GRAPHQL_DEPTH_MAX:
        raise QueryError(_TOO_DEEP)
    match node:
        case None:
            return None
        case ast.VariableNode():
            if node.name.value not in known:
                raise QueryError(f"Variable '${node.name.value}' is not defined.")
            return known[node.name.value]
        case ast.ListValueNode():
            return [_value(each, known, depth + 1) for each in node.values]
        case ast.ObjectValueNode():
            return {each.name.value: _value(each.value, known, depth + 1) for each in node.fields}
    return value_from_ast_untyped(node)
