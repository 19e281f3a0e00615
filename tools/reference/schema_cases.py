#!/usr/bin/env python3
"""Writes tests/golden/schema/cases.jsonl: schemas with instances, each judged by the reference (jsonschema from PyPI, formats checked).

    pip install 'jsonschema[format]' && python3 tools/reference/schema_cases.py > tests/golden/schema/cases.jsonl

One line a schema: {"schema", "tests": [{"valid", "text"}]}; text is the instance as json.dumps(ensure_ascii=False) writes it.
"""
import itertools
import json

import jsonschema

V = [None, True, False, 0, 1, 2, 3, 5, 7, 10, -1, -7, 0.5, 1.5, 2.25, 1e-07, "", "a", "ab", "abc", "abcd", "foo", "é", "日本語", "a\nb", "\"q\\",
     [], [1], [1, 2], [1, 1], [1, 2, 3], ["a"], ["a", 1], [[1], [1]], [{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 2}], [None, False, 0], {}, {"a": 1},
     {"a": "x"}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 2, "c": 3}, {"abc": 1}, {"x1": 1, "x2": "s"}, {"a": {"a": {"a": 1}}},
     {"kind": "p", "p": 1}, {"kind": "q", "q": 1}, {"kind": "p", "q": 1}, {"é": 1}]

SCHEMAS = [
    True, {}, {"not": {}}, {"type": "null"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}, {"type": "string"},
    {"type": "array"}, {"type": "object"}, {"type": ["string", "null"]}, {"enum": [1, "a", None, [1, 2], {"a": 1}]}, {"const": {"a": 1, "b": 2}},
    {"const": [1, 1]}, {"const": 1.5}, {"minimum": 2}, {"maximum": 2, "type": "number"}, {"exclusiveMinimum": 1, "exclusiveMaximum": 7},
    {"minimum": -3, "maximum": 1e19}, {"multipleOf": 5, "type": "integer"}, {"multipleOf": 0.25, "type": "number"}, {"multipleOf": 3, "minimum": 1, "type": "integer"},
    {"minLength": 2}, {"maxLength": 2}, {"minLength": 1, "maxLength": 3, "type": "string"}, {"pattern": "^a"}, {"pattern": "b$"}, {"pattern": "^(?!foo)[a-z]*$", "type": "string"},
    {"pattern": "^a+$", "maxLength": 2, "type": "string"}, {"not": {"pattern": "a"}, "type": "string"}, {"pattern": "^[a-zé]+$", "type": "string"},
    {"items": {"type": "integer"}, "type": "array"}, {"minItems": 2}, {"maxItems": 1}, {"uniqueItems": True}, {"uniqueItems": True, "items": {"enum": [1, 2, 3]}, "type": "array"},
    {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, {"prefixItems": [{"const": 1}], "items": False}, {"contains": {"const": 2}},
    {"contains": {"type": "integer"}, "minContains": 2, "maxContains": 2}, {"not": {"contains": {"const": 1}}, "type": "array"},
    {"not": {"items": {"type": "integer"}}, "type": "array"}, {"contains": {"const": 3}, "maxItems": 2},
    {"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"required": ["a"]},
    {"required": ["a", "b"], "maxProperties": 2}, {"minProperties": 2}, {"maxProperties": 1}, {"propertyNames": {"maxLength": 1}},
    {"propertyNames": {"pattern": "^x"}, "type": "object"}, {"patternProperties": {"^x": {"type": "integer"}}}, {"patternProperties": {"^a": {"type": "string"}}, "properties": {"abc": {}}},
    {"patternProperties": {"^(a|b)$": {"type": "integer"}}, "additionalProperties": False, "minProperties": 2}, {"additionalProperties": {"type": "string"}},
    {"dependentRequired": {"a": ["b"]}}, {"dependentSchemas": {"a": {"required": ["b"]}}}, {"dependentRequired": {"a": ["b"], "b": ["c"]}, "required": ["a"]},
    {"not": {"required": ["a"]}, "type": "object"}, {"not": {"required": ["a", "b"]}}, {"not": {"properties": {"a": {"type": "integer"}}}},
    {"not": {"additionalProperties": {"type": "integer"}}}, {"not": {"maxProperties": 1}}, {"not": {"const": {"a": 1}}}, {"not": {"type": ["object", "array"]}},
    {"anyOf": [{"type": "integer"}, {"minLength": 3, "type": "string"}]}, {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
    {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"oneOf": [{"type": "object", "required": ["kind", "p"], "properties": {"kind": {"const": "p"}}}, {"type": "object", "required": ["kind", "q"], "properties": {"kind": {"const": "q"}}}]},
    {"oneOf": [{"maxLength": 2}, {"minLength": 2}], "type": "string"}, {"not": {"oneOf": [{"type": "integer"}, {"minimum": 2}]}},
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}, {"maxProperties": 2}]}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}], "type": "string"},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 1}}, {"if": {"type": "integer"}, "then": {"minimum": 2}}, {"if": {"properties": {"kind": {"const": "p"}}, "required": ["kind"]}, "then": {"required": ["p"]}},
    {"$defs": {"n": {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "integer"}]}}, "additionalProperties": False}}, "$ref": "#/$defs/n"},
    {"$id": "http://x.y/root", "$defs": {"s": {"$id": "other", "type": "integer"}, "t": {"$anchor": "t", "type": "string"}}, "anyOf": [{"$ref": "other"}, {"$ref": "#t"}]},
    {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"i": {"type": "integer"}}, "properties": {"a": {"$ref": "#/definitions/i", "minimum": 100}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
    {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False}, {"allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}, "unevaluatedProperties": False},
    {"type": "object", "anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}], "unevaluatedProperties": False},
    {"type": "object", "anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {}}}, {"patternProperties": {"^x": {"type": "string"}}}], "unevaluatedProperties": False},
    {"type": "object", "if": {"properties": {"kind": {"const": "p"}}, "required": ["kind"]}, "then": {"properties": {"p": {}}}, "else": {"properties": {"b": {}}}, "unevaluatedProperties": False},
    {"type": "object", "if": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, "unevaluatedProperties": False},
    {"type": "object", "not": {"not": {"properties": {"a": {}}}}, "unevaluatedProperties": False}, {"type": "object", "not": {"required": ["b"]}, "properties": {"a": {}}, "unevaluatedProperties": {"type": "string"}},
    {"type": "object", "enum": [{"a": 1}, {"b": 1}, {}], "properties": {"b": {}}, "unevaluatedProperties": False}, {"type": "object", "dependentSchemas": {"a": {"properties": {"a": {}, "b": {}}}}, "unevaluatedProperties": False},
    {"type": "object", "allOf": [{"properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}}], "unevaluatedProperties": False}, {"type": "object", "oneOf": [{"required": ["a"], "properties": {"a": {}}}, {"required": ["b"], "properties": {"b": {}}}], "unevaluatedProperties": False},
    {"type": "object", "$ref": "#/$defs/n", "properties": {"b": {}}, "unevaluatedProperties": False, "$defs": {"n": {"properties": {"a": {}}}}}, {"type": "object", "allOf": [{"unevaluatedProperties": True}], "unevaluatedProperties": False},
    {"allOf": [{"prefixItems": [{"type": "integer"}]}], "unevaluatedItems": False}, {"anyOf": [{"prefixItems": [{"const": 1}]}, {"prefixItems": [True, {"const": 2}]}], "unevaluatedItems": {"type": "integer", "minimum": 3}},
    {"anyOf": [{"items": {"type": "string"}}, {"prefixItems": [{"type": "integer"}]}], "unevaluatedItems": False}, {"$schema": "https://json-schema.org/draft/2019-09/schema", "items": [{"type": "integer"}], "unevaluatedItems": {"type": "string"}},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$dynamicAnchor": "n", "type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"$dynamicRef": "#n"}]}}, "additionalProperties": False},
    {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveAnchor": True, "type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"$recursiveRef": "#"}]}}, "additionalProperties": False},
    {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 2, "exclusiveMinimum": True}, {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"], "b": {"maxProperties": 2}}},
]
FORMATS = {
    "date": ["2024-02-29", "2023-02-29", "2024-13-01", "24-01-01"], "date-time": ["2024-01-31T10:00:00Z", "2024-01-31T10:00:00.5+02:00", "2024-01-31 10:00", "2024-01-31T25:00:00Z"],
    "time": ["10:00:00Z", "10:00", "24:00:00Z"], "email": ["a@b.co", "a.b", ""], "ipv4": ["1.2.3.4", "1.2.3", "256.1.1.1"], "ipv6": ["::1", "1::2::3", "2001:db8::8:800:200c:417a"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"], "duration": ["P1Y2M", "P1W", "1Y", "PT5S"],
}


def judged(schema, values):
    cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    check = cls(schema, format_checker=cls.FORMAT_CHECKER)
    tests = [{"valid": check.is_valid(v), "text": json.dumps(v, ensure_ascii=False)} for v in values]
    return json.dumps({"schema": schema, "tests": tests}, ensure_ascii=False)


for schema in SCHEMAS:
    print(judged(schema, V))
for name, texts in FORMATS.items():
    print(judged({"type": "string", "format": name}, texts))
for low, high in itertools.product([-12.5, -1, 0, 0.3, 7, 99, 1000], repeat=2):
    if low <= high:
        numbers = [-1000, -99, -12.5, -12.4, -2, -1, -0.5, 0, 0.25, 0.3, 0.31, 1, 6.9, 7, 7.5, 98, 99, 99.5, 100, 999, 1000, 1000.5, 5000, 1e-07, -1e-07, 1e16, -1e16, 1e22]
        print(judged({"type": "number", "minimum": low, "exclusiveMaximum": high}, numbers))
        print(judged({"type": "number", "exclusiveMinimum": low, "maximum": high}, numbers))
