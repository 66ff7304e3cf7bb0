/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package main

import (
	"context"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// throttle makes API priority and fairness refuse the requests of one client with 429.
func throttle(ctx context.Context, r *run, p planned) (string, error) {
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		return "", err
	}
	c := r.client(p)
	name := fmt.Sprintf("chaos-%s-%d", c.Name, p.random%1000)
	level := &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: new(int32(0)), BorrowingLimitPercent: new(int32(0)), LendablePercent: new(int32(0)),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		},
	}
	all := []string{"*"}
	schema := &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: name},
			MatchingPrecedence:         2,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: c.Name}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
			}},
		},
	}
	client := admin.FlowcontrolV1()
	if _, err := client.PriorityLevelConfigurations().Create(ctx, level, metav1.CreateOptions{}); err != nil {
		return c.Name, err
	}
	if _, err := client.FlowSchemas().Create(ctx, schema, metav1.CreateOptions{}); err != nil {
		return c.Name, err
	}
	sleep(ctx, p.lasts)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err = r.retry(undo, func() error {
		return ignoreNotFound(client.FlowSchemas().Delete(undo, name, metav1.DeleteOptions{}))
	})
	if err != nil {
		return c.Name, err
	}
	return fmt.Sprintf("%s for %v", c.Name, p.lasts), r.retry(undo, func() error {
		return ignoreNotFound(client.PriorityLevelConfigurations().Delete(undo, name, metav1.DeleteOptions{}))
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
