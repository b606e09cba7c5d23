"""Tiny models as each library's own documentation builds them; the library is imported to build one."""
