"""Pictures that several categories share."""
