"""What a user hands to other tools: a build of the same model with no Cogsmith at the other end.

Pure: reads no file but the template, no environment, no clock; prints nothing.  Imports `config`, `lock`, `plan`.
"""
