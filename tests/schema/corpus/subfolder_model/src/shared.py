DEFAULT = "a" + "b"
