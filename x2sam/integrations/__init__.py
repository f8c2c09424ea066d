"""The model inside tools that people annotate with: each module speaks one tool's protocol and needs its own packages.

Nothing here is imported by `import x2sam`.
"""
