"""The program that becomes a container; `builder.sandbox` starts it.  Stdlib only; imports nothing else of ours."""
