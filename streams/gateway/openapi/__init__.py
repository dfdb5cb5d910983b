"""The HTTP interface as an OpenAPI 3.1 document, served at `/v1/openapi.json`.

`operations` describes the requests and answers of each path, `schemas` their types, and
`document` joins them.  A test compares the document with the router's table, both ways.
"""
