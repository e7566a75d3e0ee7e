"""Searching registered models and their versions: filters, order, prompts, pages."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Rest, invalid

Search = Callable[..., list[str]]

UNQUOTED = (
    "Parameter value is either not quoted or unidentified quote types used for string value x."
    " Use either single or double quotes."
)
PROMPT = "tags.`mlflow.prompt.is_prompt`"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Models that share the beginning of their names, and a tag that they and their versions have and no others.

    They are called a, B, c, d and e, and besides them are `f`, which says that it is no prompt, and the prompts p and
    T. Versions in their order: a1, a2, B1, c2 (c1 is deleted); p1 is a prompt's version and p2 one of p without the
    tag.
    """

    group: str

    def filter(self, clause: str) -> str:
        """The clause in this corpus only, with `{group}` replaced by the names' beginning."""
        filled = clause.replace("{group}", self.group)
        return f"tags.compat = '{self.group}'" + (f" AND {filled}" if filled else "")

    def models(self, answer: Json) -> list[str]:
        return [model["name"].removeprefix(f"{self.group}-") for model in answer.get("registered_models", [])]

    def versions(self, answer: Json) -> list[str]:
        found = answer.get("model_versions", [])
        return [version["name"].removeprefix(f"{self.group}-") + version["version"] for version in found]


@pytest.fixture(scope="module")
def corpus(rest: Rest) -> Corpus:
    group = factories.unique()
    prompt = "mlflow.prompt.is_prompt"
    models = {
        "a": {"t": "x"}, "B": {"t": "X"}, "c": {"my tag": "1", "q": "it's"}, "d": {"t": "xy"}, "e": {},
        "p": {prompt: "true"}, "f": {prompt: "false"}, "T": {prompt: "TRUE"},
    }  # fmt: skip
    for label, tags in models.items():
        own = factories.pairs({"compat": group, **tags})
        factories.new_registered_model(rest, name=f"{group}-{label}", tags=own)
        time.sleep(0.002)
    versions: list[tuple[str, dict[str, str], Json]] = [
        ("a", {"t": "x"}, {"run_id": "run1"}),
        ("a", {"t": "X"}, {"run_id": "run2", "source": "s3://bucket/Other"}),
        ("B", {}, {}),
        ("c", {"t": "xy"}, {}),
        ("c", {}, {}),
        ("p", {prompt: "true"}, {"source": "dummy-source"}),
        ("p", {}, {}),
    ]
    for label, tags, fields in versions:
        own = factories.pairs({"compat": group, **tags})
        factories.new_version(rest, f"{group}-{label}", tags=own, **fields)
        time.sleep(0.002)
    rest.delete("model-versions/delete", name=f"{group}-c", version="1")
    return Corpus(group=group)


@pytest.fixture
def models(rest: Rest, corpus: Corpus) -> Search:
    def find(clause: str = "", **fields: object) -> list[str]:
        return corpus.models(rest.get("registered-models/search", filter=corpus.filter(clause), **fields))

    return find


@pytest.fixture
def versions(rest: Rest, corpus: Corpus) -> Search:
    def find(clause: str = "", **fields: object) -> list[str]:
        return corpus.versions(rest.get("model-versions/search", filter=corpus.filter(clause), **fields))

    return find


MODEL_FILTERS = {
    "": "B T a c d e f",
    "tags.t = 'x'": "a",
    "tag.t='x'": "a",
    'tags.t = "x"': "a",
    "tags.t != 'x'": "B d",
    "tags.t LIKE 'x%'": "a d",
    "tags.t like '_'": "B a",
    "tags.t ILIKE 'X%'": "B a d",
    "tags.`my tag` = '1'": "c",
    "tags.\"my tag\" = '1'": "c",
    'tags.q = "it\'s"': "c",
    "tags.none = 'x'": "",
    "tags.none != 'x'": "",
    "tags.t = 'x' AND tags.t = 'X'": "",
    "tags.t = 'x' and name LIKE '%a'": "a",
    "name = '{group}-a'": "a",
    "name != '{group}-a'": "B T c d e f",
    "attribute.name = '{group}-a'": "a",
    "name LIKE '{group}-%'": "B T a c d e f",
    "name LIKE '{group}-A'": "",
    "name ILIKE '{group}-A'": "a",
    "name IN ('{group}-a', '{group}-c')": "a c",
    "name NOT IN ('{group}-a', '{group}-c')": "B T d e f",
    f"{PROMPT} = 'true'": "p",
    f"{PROMPT} = 'false'": "B T a c d e f",
    f"{PROMPT} != 'true'": "B T a c d e f",
    f"{PROMPT} != 'false'": "T p",
    f"{PROMPT} = 'TRUE'": "T",
    f"{PROMPT} = 'other'": "B T a c d e f",
    f"{PROMPT} LIKE 'tr%'": "B T a c d e f",
    f"{PROMPT} = 'false' AND tags.t = 'x'": "a",
    f"{PROMPT} = 'true' AND tags.t = 'x'": "",
}
VERSION_FILTERS = {
    "": "c2 B1 a2 a1",
    "tags.t = 'x'": "a1",
    "tags.t != 'x'": "a2",
    "tags.t ILIKE 'X%'": "a2 a1",
    "tags.none = 'x'": "",
    "name = '{group}-a'": "a2 a1",
    "name ILIKE '{group}-A'": "a2 a1",
    "name IN ('{group}-a', '{group}-B')": "B1 a2 a1",
    "name NOT IN ('{group}-a', '{group}-B')": "c2",
    "run_id = 'run1'": "a1",
    "run_id != 'run1'": "c2 B1 a2",
    "run_id = ''": "c2 B1",
    "run_id LIKE 'run%'": "a2 a1",
    "run_id IN ('run1', 'run2')": "a2 a1",
    "run_id NOT IN ('run1')": "c2 B1 a2",
    "source_path = 's3://bucket/Other'": "a2",
    "source_path != 's3://bucket/model'": "a2",
    "source_path LIKE 's3://bucket/%'": "c2 B1 a2 a1",
    "source_path ILIKE '%/other'": "a2",
    "version_number = 1": "B1 a1",
    "version_number = '1'": "B1 a1",
    "version_number != 2": "B1 a1",
    "version_number > 1": "c2 a2",
    "version_number >= 1": "c2 B1 a2 a1",
    "version_number <= '1'": "B1 a1",
    "version_number = -1": "",
    "attribute.version_number < 2": "B1 a1",
    f"{PROMPT} = 'true'": "p1",
    f"{PROMPT} = 'false'": "c2 B1 a2 a1",
    f"{PROMPT} != 'true'": "c2 B1 a2 a1",
    f"{PROMPT} != 'false'": "p1",
    "name = '{group}-p'": "",
    f"name = '{{group}}-p' AND {PROMPT} = 'true'": "p1",
}

_BAD_LIST = "While parsing a list in the query, expected "
INVALID_FOR_BOTH = {
    "tags.t IN ('x')": "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('x')",
    "tags.t = x": UNQUOTED,
    "tags.t = 5": "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5",
    "tags.t > 'x'": "Invalid comparator for tag: >",
    "name > 'x'": "Invalid comparator for attribute: >",
    "name RLIKE 'x'": "Invalid comparator for attribute: RLIKE",
    "name NOT LIKE 'x'": "Invalid comparator for attribute: NOT LIKE",
    "name = x": UNQUOTED,
    "name IN ()": _BAD_LIST + "a non-empty list of string values, but got empty list",
    "name IN (1)": (_BAD_LIST + "string value, punctuation, or whitespace, but got different type in list: (1,)"),
    "params.x = 'x'": "Invalid entity type 'params'. Valid entity types are ('attribute', 'tag', 'tags')",
    "attributes.name = 'x'": "Invalid entity type 'attributes'. Valid entity types are ('attribute', 'tag', 'tags')",
    "OR": "Invalid clause(s) in filter string: OR",
    "name = 'x' OR name = 'y'": "Invalid clause(s) in filter string: OR",
    "name": "Invalid clause(s) in filter string: name",
    "name = ": "Invalid clause(s) in filter string: name, =",
    "NOT name = 'x'": "Invalid clause(s) in filter string: NOT",
    "'x' = name": "Invalid comparison clause. Expected 'Identifier' found ''x''",
    " ": "Invalid filter ' '. Could not be parsed.",
    "name = 'x'; name = 'y'": (
        "Search filter contained multiple expression \"name = 'x'; name = 'y'\". Provide AND-ed expression list."
    ),
}
NO_NULLS = "IS NULL / IS NOT NULL is not supported for {} search."
INVALID_MODEL_FILTERS = {
    "name = 5": "Expected a quoted string value or a list of quoted string values for attributes. Got value 5",
    "name IS NULL": NO_NULLS.format("registered model"),
    "tags.t IS NOT NULL": NO_NULLS.format("registered model"),
    "foo = 'x'": "Invalid attribute key 'foo' specified. Valid keys are '{'name'}'",
    "creation_timestamp > 5": "Invalid attribute key 'creation_timestamp' specified. Valid keys are '{'name'}'",
}
_NO_LIST = "Only ['name', 'run_id'] attributes support comparison with a list of quoted string values."
INVALID_VERSION_FILTERS = {
    "name IS NULL": NO_NULLS.format("model version"),
    "tags.t IS NULL": NO_NULLS.format("model version"),
    "run_id > 'x'": "Invalid comparator for attribute: >",
    "source_path IN ('x')": _NO_LIST,
    "version_number IN ('1')": _NO_LIST,
    "version_number LIKE 1": "Invalid comparator for attribute version_number: LIKE",
    "version_number LIKE '1'": "Invalid comparator for attribute version_number: LIKE",
    "version_number = 1.5": "Invalid value for numeric attribute 'version_number': 1.5",
    "version_number = 'x'": "Invalid value for numeric attribute 'version_number': 'x'",
    "version_number = x": UNQUOTED,
}
SETS = {
    "name = 5": "attributes support comparison with numeric values.",
    "source_path = 5": "attributes support comparison with numeric values.",
    "foo = 'x'": "Invalid attribute key 'foo' specified. Valid keys are '{",
    "last_updated_timestamp > 5": "Invalid attribute key 'last_updated_timestamp' specified. Valid keys are '{",
    "status = 'READY'": "Invalid attribute key 'status' specified. Valid keys are '{",
}


@pytest.mark.parametrize("clause", MODEL_FILTERS, ids=lambda clause: clause or "none")
def test_a_filter_of_models(models: Search, clause: str) -> None:
    assert " ".join(models(clause)) == MODEL_FILTERS[clause]


@pytest.mark.parametrize("clause", VERSION_FILTERS, ids=lambda clause: clause or "none")
def test_a_filter_of_versions(versions: Search, clause: str) -> None:
    assert " ".join(versions(clause)) == VERSION_FILTERS[clause]


@pytest.mark.parametrize("path", ["registered-models/search", "model-versions/search"])
@pytest.mark.parametrize("clause", INVALID_FOR_BOTH, ids=repr)
def test_a_filter_that_neither_has_is_refused(rest: Rest, path: str, clause: str) -> None:
    assert rest.refused_get(path, filter=clause) == invalid(INVALID_FOR_BOTH[clause])


@pytest.mark.parametrize("clause", INVALID_MODEL_FILTERS)
def test_an_invalid_filter_of_models_is_refused(rest: Rest, clause: str) -> None:
    assert rest.refused_get("registered-models/search", filter=clause) == invalid(INVALID_MODEL_FILTERS[clause])


@pytest.mark.parametrize("clause", INVALID_VERSION_FILTERS)
def test_an_invalid_filter_of_versions_is_refused(rest: Rest, clause: str) -> None:
    assert rest.refused_get("model-versions/search", filter=clause) == invalid(INVALID_VERSION_FILTERS[clause])


@pytest.mark.parametrize("clause", SETS)
def test_a_refusal_that_shows_a_set_begins_or_ends_as_stocks(rest: Rest, clause: str) -> None:
    refused = rest.refused_get("model-versions/search", filter=clause)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert SETS[clause] in refused.message


@pytest.mark.departure("stock answers 500 with the text of its database driver")
def test_a_number_beyond_64_bits_is_refused(rest: Rest) -> None:
    refused = rest.refused_get("model-versions/search", filter="version_number = 99999999999999999999")

    assert refused.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ([], "B T a c d e f"),
        (["name"], "B T a c d e f"),
        (["name DESC"], "f e d c a T B"),
        (["name  asc"], "B T a c d e f"),
        (["`name` DESC"], "f e d c a T B"),
        (["timestamp"], "d e f T a B c"),
        (["timestamp DESC"], "c B a T f e d"),
        (["last_updated_timestamp DESC", "name DESC"], "c B a T f e d"),
    ],
)
def test_an_order_of_models(models: Search, order_by: list[str], expected: str) -> None:
    assert " ".join(models(order_by=order_by)) == expected


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ([], "c2 B1 a2 a1"),
        (["name"], "B1 a2 a1 c2"),
        (["name DESC"], "c2 a2 a1 B1"),
        (["version_number"], "B1 a1 a2 c2"),
        (["version_number DESC", "name DESC"], "c2 a2 a1 B1"),
        (["creation_timestamp"], "a1 a2 B1 c2"),
        (["last_updated_timestamp"], "a1 a2 B1 c2"),
        (["attribute.name", "version_number ASC"], "B1 a1 a2 c2"),
        (["attributes.name DESC"], "c2 a2 a1 B1"),
    ],
)
def test_an_order_of_versions(versions: Search, order_by: list[str], expected: str) -> None:
    assert " ".join(versions(order_by=order_by)) == expected


@pytest.mark.parametrize("path", ["registered-models/search", "model-versions/search"])
@pytest.mark.parametrize(
    ("order_by", "message"),
    [
        ("name FOO", "Invalid ordering key in order_by clause 'name FOO'."),
        ("name ASC x", "Invalid order_by clause 'name ASC x'. Could not be parsed."),
        (" name", "Invalid order_by clause ' name'. Could not be parsed."),
        ("", "Invalid order_by clause ''. Could not be parsed."),
    ],
)
def test_a_malformed_order_is_refused(rest: Rest, path: str, order_by: str, message: str) -> None:
    assert rest.refused_get(path, order_by=[order_by]) == invalid(message)


@pytest.mark.parametrize("key", ["creation_timestamp", "foo", "tags.t", "attribute.name", "NAME"])
def test_models_are_ordered_by_name_and_time_only(rest: Rest, key: str) -> None:
    refused = rest.refused_get("registered-models/search", order_by=[key])

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(f"Invalid order by key '{key}' specified. Valid keys are '{{")


@pytest.mark.parametrize(
    ("key", "beginning"),
    [
        ("timestamp", "Invalid attribute key 'timestamp' specified. Valid keys are '{"),
        ("run_id", "Invalid attribute key 'run_id' specified. Valid keys are '{"),
        ("tags.t", "Invalid order by key 't' specified. Valid keys are {"),
        ("foo.name", "Invalid entity type 'foo'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')"),
    ],
)
def test_versions_are_not_ordered_by_anything(rest: Rest, key: str, beginning: str) -> None:
    refused = rest.refused_get("model-versions/search", order_by=[key])

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(beginning)


@pytest.mark.departure("stock answers 500, which clients retry")
@pytest.mark.parametrize(
    ("path", "order_by"),
    [
        ("registered-models/search", ["name", "name DESC"]),
        ("registered-models/search", ["timestamp", "last_updated_timestamp"]),
        ("model-versions/search", ["name", "name DESC"]),
    ],
)
def test_a_key_twice_in_an_order_is_refused(rest: Rest, path: str, order_by: list[str]) -> None:
    expected = invalid(f"`order_by` contains duplicate fields: {order_by}")

    assert rest.refused_get(path, order_by=order_by) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100])
def test_pages_have_all_models_once(rest: Rest, corpus: Corpus, size: int) -> None:
    found = _pages(rest, "registered-models/search", corpus, size)

    assert [corpus.models(page) for page in found] == _cut("B T a c d e f".split(), size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_pages_have_all_versions_once(rest: Rest, corpus: Corpus, size: int) -> None:
    found = _pages(rest, "model-versions/search", corpus, size)

    assert [corpus.versions(page) for page in found] == _cut("c2 B1 a2 a1".split(), size)


@pytest.mark.parametrize("path", ["registered-models/search", "model-versions/search"])
def test_a_token_that_was_never_made_is_refused(rest: Rest, path: str) -> None:
    assert rest.refused_get(path, page_token="zzz").message.startswith("Invalid page token")


@pytest.mark.parametrize("path", ["registered-models/search", "model-versions/search"])
def test_an_empty_answer_has_no_fields(rest: Rest, path: str) -> None:
    assert rest.get(path, filter=f"name = '{factories.unique()}'") == {}


@pytest.mark.parametrize(("path", "too_many"), [("registered-models/search", 1001), ("model-versions/search", 200_001)])
def test_a_page_has_a_largest_size(rest: Rest, path: str, too_many: int) -> None:
    rest.get(path, filter="name = 'none'", max_results=too_many - 1)

    refused = rest.refused_get(path, max_results=too_many)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert "max_results" in refused.message


@pytest.mark.parametrize("size", [0, -1])
def test_a_page_of_versions_has_a_smallest_size(rest: Rest, size: int) -> None:
    refused = rest.refused_get("model-versions/search", max_results=size)

    assert refused == invalid(f"Invalid value for max_results. It must be a positive integer, but got {size}")


@pytest.mark.departure("stock answers with no models and a token, again and again")
@pytest.mark.parametrize("size", [0, -1])
def test_a_page_of_models_has_a_smallest_size(rest: Rest, size: int) -> None:
    assert rest.refused_get("registered-models/search", max_results=size) == invalid(texts.not_positive(size))


def test_what_is_found_is_shown_as_elsewhere_but_for_aliases(rest: Rest) -> None:
    version = factories.new_version(rest, tags=[{"key": "t", "value": "1"}])
    name = version["name"]
    factories.set_alias(rest, name, "champion", "1")

    model = rest.get("registered-models/search", filter=f"name = '{name}'")["registered_models"]
    found = rest.get("model-versions/search", filter=f"name = '{name}'")["model_versions"]

    assert model == [factories.get_registered_model(rest, name)]
    assert model[0]["aliases"] == [{"alias": "champion", "version": "1"}]
    assert found == [version]


def _pages(rest: Rest, path: str, corpus: Corpus, size: int) -> list[Json]:
    query = {"filter": corpus.filter(""), "max_results": size}
    pages = [rest.get(path, **query)]
    while "next_page_token" in pages[-1]:
        pages.append(rest.get(path, **query, page_token=pages[-1]["next_page_token"]))
    return pages


def _cut(found: list[str], size: int) -> list[list[str]]:
    return [found[start : start + size] for start in range(0, len(found), size)]
