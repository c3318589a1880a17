"""What calls and answers look like, in JSON Schema: told in the OpenAPI document, subject by subject."""
