"""Train: all of it, in four lines.

You have written every part of an engine. Now use a whole one: minidl, whose names are PyTorch's. A
step of training is: the loss, gradients cleared, gradients computed, parameters moved. Four lines
that you will write a thousand times.
"""

import minidl
import minidl.nn.functional as F


def train(model, points, labels, steps):
    """Train the model, and return the loss of each step."""
    optimizer = minidl.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for _ in range(steps):
        # [solution]
        loss = F.cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # [start] F.cross_entropy(scores, labels) is the loss, model(points) are the scores. The rest:
        # | zero_grad, backward, step.
        # loss = ...
        # [mistake] Gradients add up from step to step: optimizer.zero_grad() is missing.
        # loss = F.cross_entropy(model(points), labels)
        # loss.backward()
        # optimizer.step()
        # [mistake] The loss never falls: a gradient is computed by backward(), and used by step(), and must
        # | not be cleared between the two.
        # loss = F.cross_entropy(model(points), labels)
        # loss.backward()
        # optimizer.zero_grad()
        # optimizer.step()
        # [mistake] The loss never falls: a gradient is computed by backward(), and used by step(), and must
        # | not be cleared between the two.
        # loss = F.cross_entropy(model(points), labels)
        # optimizer.zero_grad()
        # loss.backward()
        # [mistake] The loss never falls: a gradient is computed by backward(), and used by step(), and must
        # | not be cleared between the two.
        # loss = F.cross_entropy(model(points), labels)
        # optimizer.zero_grad()
        # optimizer.step()
        # [mistake] cross_entropy takes scores, and has the softmax in it: here it is applied twice, and
        # | learning is slow.
        # loss = F.cross_entropy(F.softmax(model(points), dim=1), labels)
        # optimizer.zero_grad()
        # loss.backward()
        # optimizer.step()
        # [end]
        losses.append(loss.item())
    return losses


# [hint] loss = F.cross_entropy(model(points), labels); optimizer.zero_grad(); loss.backward();
# | optimizer.step()
# [solved] examples/cifar10.py is this loop around a larger network. You know what happens in each of its
# | lines.
