"""What models write: replies, answers, places, numbers, calls. Parsed strictly, never run."""
