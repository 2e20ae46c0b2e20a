"""The Container Service's side: command.json, its rules, its variants, its label."""
