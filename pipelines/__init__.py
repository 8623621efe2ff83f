"""Where catalogs, domainssl and reports meet: recipes, run folders, steps and the command line."""
