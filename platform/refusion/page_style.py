"""Beginning of the pages that the package makes: one style for contact sheets and reports."""

from __future__ import annotations

PAGE_BEGINNING = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  :root { color-scheme: light; }
  body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; background: #fff; color: #1f2937;
         font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
  h1 { font-size: 1.7rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
  h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-top: .9rem; border-top: 1px solid #e5e7eb; }
"""
"""Jinja template up to the rules of style that a page adds, as ``max-width`` of body; it takes ``title``."""
