package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// The store of a virtual cluster is looked after from inside its etcd container, which has no shell and no other
// program: `kubernetes store save|restore|end` are called by `kubectl exec`, and etcd itself is tended while it runs.
// `hold`, `put` and `get` are for a pod that holds a volume with snapshots.
const (
	// endpointVariable is where etcd listens; without it nothing of this file is active.
	endpointVariable = "LOFT_STORE_ENDPOINT"
	// folderVariable is the directory that holds etcd's own one.
	folderVariable = "LOFT_STORE_DIR"
	// volumeFolder is where a volume for snapshots is mounted in a pod that only holds it.
	volumeFolder = "/snapshots"

	current   = "etcd"
	received  = "received.db"
	restoring = "restoring"
	// restored appears by a rename when a snapshot is completely there; etcd takes it at its next start.
	restored = "restored"
	replaced = "replaced"

	endPause    = 300 * time.Millisecond
	tendEvery   = 20 * time.Second
	callLimit   = 2 * time.Minute
	streamLimit = time.Hour
	// revisionBump keeps revisions growing through a restore: what anybody has seen is older than what comes. Ten years
	// of 25 writes a second would be that many.
	revisionBump = 8_000_000_000
)

func store(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("save, restore, end, hold, put or get is expected")
	}
	switch arguments[0] {
	case "save":
		return save()
	case "restore":
		return restore(arguments[1:])
	case "end":
		return end()
	case "hold":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(streamLimit):
		}
		return nil
	case "put", "get":
		return transfer(arguments)
	}
	return fmt.Errorf("%q is unknown; save, restore, end, hold, put or get is expected", arguments[0])
}

// end stops the container's program at once. Kubernetes' components end in order at a first signal, an API server
// only when all its watches have (a minute later), and at once at a second one.
func end() error {
	if err := syscall.Kill(1, syscall.SIGTERM); err != nil {
		return err
	}
	time.Sleep(endPause)
	if err := syscall.Kill(1, syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// transfer moves one file between a volume and the standard streams: put PATH SIZE, get PATH.
func transfer(arguments []string) error {
	if len(arguments) != 3 && (len(arguments) != 2 || arguments[0] == "put") {
		return errors.New("usage: put PATH SIZE, or get PATH")
	}
	volume, err := os.OpenRoot(volumeFolder)
	if err != nil {
		return err
	}
	defer volume.Close()
	path := filepath.Clean(arguments[1])
	if arguments[0] == "get" {
		file, err := volume.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(os.Stdout, file)
		return err
	}
	size, err := strconv.ParseInt(arguments[2], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a size in bytes", arguments[2])
	}
	if err := volume.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := volume.OpenFile(path+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := fill(file, size); err != nil {
		_ = volume.Remove(path + ".part")
		return err
	}
	return volume.Rename(path+".part", path)
}

func connect() (*clientv3.Client, string, error) {
	endpoint := os.Getenv(endpointVariable)
	if endpoint == "" {
		return nil, "", fmt.Errorf("%s is not set: this is not the container of a store", endpointVariable)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	return client, endpoint, err
}

// save writes a snapshot to standard output: the database, and at its end the SHA-256 by which a cut one is found.
func save() error {
	client, _, err := connect()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), streamLimit)
	defer cancel()
	answer, err := client.SnapshotWithVersion(ctx)
	if err != nil {
		return err
	}
	defer answer.Snapshot.Close()
	_, err = io.Copy(os.Stdout, answer.Snapshot)
	return err
}

// restore reads SIZE bytes of a snapshot from standard input and lays it ready for the next start of etcd.
func restore(arguments []string) error {
	folder := os.Getenv(folderVariable)
	if folder == "" || len(arguments) != 5 {
		return fmt.Errorf("usage: restore SIZE NAME PEER-URL INITIAL-CLUSTER TOKEN, with %s set", folderVariable)
	}
	size, err := strconv.ParseInt(arguments[0], 10, 64)
	if err != nil || size <= 0 {
		return fmt.Errorf("%q is not a size in bytes", arguments[0])
	}
	for _, left := range []string{received, restoring, restored} {
		if err := os.RemoveAll(filepath.Join(folder, left)); err != nil {
			return err
		}
	}
	file := filepath.Join(folder, received)
	defer os.Remove(file)
	if err := receive(file, size); err != nil {
		return err
	}
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                arguments[1],
		PeerURLs:            []string{arguments[2]},
		InitialCluster:      arguments[3],
		InitialClusterToken: arguments[4],
		OutputDataDir:       filepath.Join(folder, restoring),
		RevisionBump:        revisionBump,
		MarkCompacted:       true,
	})
	if err != nil {
		return err
	}
	return os.Rename(filepath.Join(folder, restoring), filepath.Join(folder, restored))
}

func receive(path string, size int64) error {
	if size <= sha256.Size {
		return fmt.Errorf("a snapshot is longer than %d bytes", size)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	return fill(file, size)
}

// fill writes SIZE bytes of standard input to a file. The size is told, since a stream that ends early looks like one
// that ended.
func fill(file *os.File, size int64) error {
	if got, err := io.CopyN(file, os.Stdin, size); err != nil {
		return fmt.Errorf("%d of %d bytes came: %w", got, size, err)
	}
	return file.Sync()
}

// takeRestored puts a restored store in the place of the present one; a crash between two steps is gone on with.
func takeRestored(folder string) error {
	ready, present, old := filepath.Join(folder, restored), filepath.Join(folder, current), filepath.Join(folder, replaced)
	if _, err := os.Stat(ready); err == nil {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Rename(present, old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Rename(ready, present); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "etcd: starts with the restored store")
	}
	return os.RemoveAll(old)
}

// tendStore frees space when the store is full, and lets it be written to again when that has helped. etcd
// itself refuses writes for good after it was full once.
func tendStore() {
	time.Sleep(tendEvery)
	client, endpoint, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd: the store is not tended:", err)
		return
	}
	for ; ; time.Sleep(tendEvery) {
		if err := relieve(client, endpoint); err != nil {
			fmt.Fprintln(os.Stderr, "etcd: the full store could not be relieved:", err)
		}
	}
}

func relieve(client *clientv3.Client, endpoint string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return err
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return err
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm == etcdserverpb.AlarmType_NOSPACE && alarm.MemberID == status.Header.MemberId {
			return relieveMember(ctx, client, endpoint, (*clientv3.AlarmMember)(alarm))
		}
	}
	return nil
}

func relieveMember(ctx context.Context, client *clientv3.Client, endpoint string, alarm *clientv3.AlarmMember) error {
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return err
	}
	// An error here means that this revision is compacted already.
	_, _ = client.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical())
	if status, err = client.Status(ctx, endpoint); err != nil {
		return err
	}
	if status.DbSizeInUse > status.DbSizeQuota*9/10 {
		return fmt.Errorf("%d of %d bytes are in use: delete objects, or raise storage.limit", status.DbSizeInUse, status.DbSizeQuota)
	}
	if status.DbSize > status.DbSizeQuota*9/10 {
		if _, err = client.Defragment(ctx, endpoint); err != nil {
			return err
		}
	}
	if _, err = client.AlarmDisarm(ctx, alarm); err == nil {
		fmt.Fprintln(os.Stderr, "etcd: the store was full and has space again")
	}
	return err
}
