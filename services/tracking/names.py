"""Makes up names for runs and models that come without one."""

import random

_LENGTH_MAX = 20
_QUALITIES = (
    "able agile amber arctic avid azure bold brave brisk calm candid cheery civic clear clever coral cosmic crisp "
    "daring deft eager early fair fancy fleet fluent frank fresh gentle glad golden grand happy hardy honest humble "
    "jolly keen kind lively loyal lucid lunar mellow merry mighty modest neat nimble noble polite proud quick quiet "
    "rapid ready regal robust rosy royal rustic serene sharp silent silver smart solar solid steady subtle sunny "
    "swift tidy tranquil upbeat valiant vivid warm wise witty zesty"
).split()
_ANIMALS = (
    "badger bat bear beaver bee bison boar crab crane crow deer dove duck eagle eel egret elk falcon ferret finch fox "
    "frog gecko goat goose gull hare hawk heron horse ibis jay koala lark lemur lion llama lynx magpie marten mole "
    "moose moth mouse newt orca otter owl panda pike pony puffin quail rabbit raven robin seal shark sheep shrew "
    "skunk sloth snail stork swan tiger toad trout turtle viper vole wasp weasel whale wolf wren yak zebra"
).split()


def random_name() -> str:
    """Return a name like `brisk-otter-417`, at most 20 characters."""
    name = f"{random.choice(_QUALITIES)}-{random.choice(_ANIMALS)}-{random.randint(0, 999)}"
    return name[:_LENGTH_MAX]
