"""Order: nobody speaks before all is heard.

A tensor may pass its gradient on only when it is complete: when all that was made from it has
spoken. A tensor is younger than its parents. So it is enough to go through all tensors that lead to
the output from the youngest to the oldest. Each has the number of its birth.
"""


def order(out):
    """All tensors that lead to ``out``, and ``out`` itself: each once, the youngest (with the highest number) first."""
    # [solution]
    found, todo = {out}, [out]
    while todo:
        for parent in todo.pop().parents:
            if parent not in found:
                found.add(parent)
                todo.append(parent)
    return sorted(found, key=lambda tensor: tensor.number, reverse=True)
    # [start] Two things: find all of them, following tensor.parents from out, and sort them by tensor.number.
    # return ...
    # [mistake] Some tensors are there twice: two ways lead to them. Remember whom you have met, for example
    # | in a set.
    # found = [out]
    # for tensor in found:
    #     found.extend(tensor.parents)
    # return sorted(found, key=lambda tensor: tensor.number, reverse=True)
    # [mistake] The oldest is first. Gradients travel from the output backwards: reverse=True.
    # found, todo = {out}, [out]
    # while todo:
    #     for parent in todo.pop().parents:
    #         if parent not in found:
    #             found.add(parent)
    #             todo.append(parent)
    # return sorted(found, key=lambda tensor: tensor.number)
    # [mistake] This is the order in which you met them. One that is met early may be the parent of one met
    # | later: sort by number.
    # found = [out]
    # for tensor in found:
    #     found.extend(parent for parent in tensor.parents if parent not in found)
    # return found
    # [mistake] Only out and its own parents are there. Parents have parents.
    # return sorted({out, *out.parents}, key=lambda tensor: tensor.number, reverse=True)
    # [end]


# [hint] A list of tensors still to look at, and a set of those found. While the list is not empty: take one,
# | and add its parents to both, if new.
# [solved] minidl does the same, nearly word for word: minidl/autograd/sweep.py. No recursion, so fifty
# | thousand steps in a row are no trouble.
