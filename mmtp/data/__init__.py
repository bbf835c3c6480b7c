"""From conversations with pictures to packed rows of tokens."""
