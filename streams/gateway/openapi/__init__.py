"""The HTTP interface as an OpenAPI 3.1 document, served at `/v1/openapi.json`.

What each path takes and answers is written in `operations`, in the words of `schemas`;
`document` joins them.  A test compares it with the router's table, both ways.
"""
