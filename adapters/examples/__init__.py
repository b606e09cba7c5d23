"""Tiny models as each library's own documentation builds them; each module needs its library, and is imported to build one."""
