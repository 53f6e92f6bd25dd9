"""A script written for PyTorch, in the manner of its classic CIFAR-10 tutorial, runs with only its import lines changed."""

import os
import pickle

import numpy as np
import pytest

SCRIPT = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
import torchvision.transforms as transforms

transform = transforms.Compose(
    [transforms.RandomHorizontalFlip(),
     transforms.RandomCrop(32, padding=4),
     transforms.ToTensor(),
     transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

batch_size = 4
trainset = torchvision.datasets.CIFAR10(root='./data', train=True, download=True, transform=transform)
trainloader = torch.utils.data.DataLoader(trainset, batch_size=batch_size, shuffle=True, num_workers=2)
testset = torchvision.datasets.CIFAR10(root='./data', train=False, download=True, transform=transform)
testloader = torch.utils.data.DataLoader(testset, batch_size=batch_size, shuffle=False, num_workers=2)

classes = ('plane', 'car', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')

dataiter = iter(trainloader)
images, labels = next(dataiter)
print(' '.join(f'{classes[labels[j]]:5s}' for j in range(batch_size)))


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(4096, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2, 2)
        x = x.view(-1, 4096)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return x


device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
net = Net()
net.to(device)

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)

for epoch in range(2):
    running_loss = 0.0
    for i, data in enumerate(trainloader, 0):
        inputs, labels = data
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if i % 10 == 9:
            print('[%d, %5d] loss: %.3f' % (epoch + 1, i + 1, running_loss / 10))
            running_loss = 0.0
print('Finished Training')

PATH = './cifar_net.pth'
torch.save(net.state_dict(), PATH)
net = Net()
net.load_state_dict(torch.load(PATH, weights_only=True))

correct = 0
total = 0
with torch.no_grad():
    for data in testloader:
        images, labels = data
        outputs = net(images)
        _, predicted = torch.max(outputs.data, 1)
        total += labels.size(0)
        correct += (predicted == labels).sum().item()
print(f'Accuracy of the network on the {total} test images: {100 * correct // total} %')

correct_pred = {classname: 0 for classname in classes}
total_pred = {classname: 0 for classname in classes}
with torch.no_grad():
    for data in testloader:
        images, labels = data
        outputs = net(images)
        _, predictions = torch.max(outputs, 1)
        for label, prediction in zip(labels, predictions):
            if label == prediction:
                correct_pred[classes[label]] += 1
            total_pred[classes[label]] += 1
for classname, correct_count in correct_pred.items():
    accuracy = 100 * float(correct_count) / total_pred[classname]
    print(f'Accuracy for class: {classname:5s} is {accuracy:.1f} %')
del dataiter
"""

IMPORTS = {
    "import torch\n": "import minidl as torch\n",
    "import torch.nn as nn\n": "import minidl.nn as nn\n",
    "import torch.nn.functional as F\n": "import minidl.nn.functional as F\n",
    "import torchvision\n": "import minidl.vision as torchvision\n",
    "import torchvision.transforms as transforms\n": "import minidl.vision.transforms as transforms\n",
}


def write_small_cifar(folder, n):
    """CIFAR-10's own files with ``n`` made-up pictures in each: a colour for each class, and noise."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (10, 3))
    os.makedirs(folder)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        labels = np.arange(n) % 10
        pictures = colours[labels][:, :, None] + rng.normal(0, 20, (n, 3, 1024))
        batch = {
            b"batch_label": name.encode(),
            b"labels": labels.tolist(),
            b"data": pictures.clip(0, 255).astype(np.uint8).reshape(n, 3072),
            b"filenames": [b"%d.png" % i for i in range(n)],
        }
        with open(os.path.join(folder, name), "wb") as f:
            pickle.dump(batch, f, protocol=2)
    names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
    with open(os.path.join(folder, "batches.meta"), "wb") as f:
        pickle.dump({b"num_cases_per_batch": n, b"label_names": names, b"num_vis": 3072}, f, protocol=2)


def test_the_tutorial_runs_with_its_import_lines_changed(tmp_path, monkeypatch, capsys):
    script = SCRIPT
    for theirs, ours in IMPORTS.items():
        assert script.count(theirs) == 1
        script = script.replace(theirs, ours)
    monkeypatch.chdir(tmp_path)
    write_small_cifar("data/cifar-10-batches-py", 40)
    exec(compile(script, "tutorial.py", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "[2,    50] loss:" in printed and "Finished Training" in printed
    assert "Accuracy of the network on the 40 test images" in printed
    losses = [float(line.rpartition(" ")[2]) for line in printed.splitlines() if line.startswith("[")]
    assert losses[0] == pytest.approx(np.log(10), abs=0.1) and losses[-1] < losses[0]
