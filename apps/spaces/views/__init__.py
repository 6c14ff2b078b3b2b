"""The pages of Spaces, a module per group of pages."""
