"""A task in the hands of an agent, from taking it up to done."""
