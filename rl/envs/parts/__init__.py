"""What several categories share besides pictures: options, worlds, rules, tools."""
