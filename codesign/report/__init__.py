"""Results as pages that people read: one HTML file, or Markdown with figures, or tables."""
